"""Parts free of any modality: heads, moving copies, queues, prototypes, and what processes that share a batch need."""

from __future__ import annotations

from nearfar.models.bank import LinkedBank
from nearfar.models.heads import NonNegative, projector
from nearfar.models.mixing import hard_mixtures, mixed_together, moved_apart
from nearfar.models.momentum import MomentumCopy, ramp
from nearfar.models.processes import SharedBatchNorm, average_gradients, share_norms
from nearfar.models.prototypes import Prototypes
from nearfar.models.queue import Queue

__all__ = [
    "LinkedBank",
    "MomentumCopy",
    "NonNegative",
    "Prototypes",
    "Queue",
    "SharedBatchNorm",
    "average_gradients",
    "hard_mixtures",
    "mixed_together",
    "moved_apart",
    "projector",
    "ramp",
    "share_norms",
]
