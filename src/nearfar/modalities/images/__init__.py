"""Images: folders, tables and arrays of pictures; batched views; encoders by name."""

from .modality import MODALITY

__all__ = ["MODALITY"]
