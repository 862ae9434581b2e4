"""Image encoders by name: architectures of our own, torchvision, timm and Hugging Face, random or pretrained."""

from __future__ import annotations

from .build import default_encoder, encoder
from .nets import SMALL_SIDE, Backbone, Small

__all__ = ["SMALL_SIDE", "Backbone", "Small", "default_encoder", "encoder"]
