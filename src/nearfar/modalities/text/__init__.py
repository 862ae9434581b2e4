"""Texts, alone or in pairs: reading, views and encoders."""

from .modality import MODALITY

__all__ = ["MODALITY"]
