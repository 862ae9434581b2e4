"""Parts free of any modality: heads."""

from __future__ import annotations

from nearfar.models.heads import projector

__all__ = ["projector"]
