"""Parts free of any modality: heads, moving copies, queues, prototypes, maps, and what processes share."""

from __future__ import annotations

from nearfar.models.bank import LinkedBank
from nearfar.models.centroids import Centroids
from nearfar.models.clustered import ClusteredQueue
from nearfar.models.contradicting import contradicting, mixed_with
from nearfar.models.course import Course, UpToNow
from nearfar.models.draws import Draws
from nearfar.models.dropout import dropout_rate
from nearfar.models.group_whitening import group_whiten
from nearfar.models.heads import AdaptiveHeads, NonNegative, projector
from nearfar.models.maps import cells_of, map_width, with_map
from nearfar.models.mixing import hard_mixtures, mixed_together, moved_apart
from nearfar.models.momentum import FrozenCopy, MomentumCopy, StillCopy, ramp
from nearfar.models.parts import TwoParts
from nearfar.models.processes import SharedBatchNorm, average_gradients, share_norms
from nearfar.models.propagation import Propagation
from nearfar.models.prototypes import Prototypes
from nearfar.models.queue import LabelledQueue, Queue
from nearfar.models.record import Record
from nearfar.models.wrapped import Wrapped

__all__ = [
    "AdaptiveHeads",
    "Centroids",
    "ClusteredQueue",
    "Course",
    "Draws",
    "FrozenCopy",
    "LabelledQueue",
    "LinkedBank",
    "MomentumCopy",
    "NonNegative",
    "Propagation",
    "Prototypes",
    "Queue",
    "Record",
    "SharedBatchNorm",
    "StillCopy",
    "TwoParts",
    "UpToNow",
    "Wrapped",
    "average_gradients",
    "cells_of",
    "contradicting",
    "dropout_rate",
    "group_whiten",
    "hard_mixtures",
    "map_width",
    "mixed_together",
    "mixed_with",
    "moved_apart",
    "projector",
    "ramp",
    "share_norms",
    "with_map",
]
