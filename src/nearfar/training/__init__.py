"""The training engine: loop, checkpoints, gradient cache, monitors. It knows no modality and no objective."""

from __future__ import annotations

from nearfar.training.cache import cached, encoded
from nearfar.training.checkpoint import Checkpoint, CheckpointError, load_checkpoint, save_checkpoint
from nearfar.training.loop import Diverged, Trainer, TrainResult
from nearfar.training.protocols import Contrast, Method, Projection
from nearfar.training.settings import TrainingSettings
from nearfar.training.stopping import Interrupted

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "Contrast",
    "Diverged",
    "Interrupted",
    "Method",
    "Projection",
    "TrainResult",
    "Trainer",
    "TrainingSettings",
    "cached",
    "encoded",
    "load_checkpoint",
    "save_checkpoint",
]
