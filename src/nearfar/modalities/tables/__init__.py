"""Tables: rows of numbers and categories; views by corruption; small encoders."""

from .modality import MODALITY

__all__ = ["MODALITY"]
