"""Give an encoder of texts to others: as a sentence-transformers folder, or as one ONNX file."""

from __future__ import annotations

from .card import card
from .folders import FORMATS, Written, export

__all__ = ["FORMATS", "Written", "card", "export"]
