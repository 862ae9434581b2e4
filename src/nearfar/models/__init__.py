"""Parts free of any modality: heads, moving copies, queues, prototypes."""

from __future__ import annotations

from nearfar.models.heads import projector
from nearfar.models.momentum import MomentumCopy, ramp
from nearfar.models.prototypes import Prototypes
from nearfar.models.queue import Queue

__all__ = ["MomentumCopy", "Prototypes", "Queue", "projector", "ramp"]
