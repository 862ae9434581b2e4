"""Encoders of texts by name: pretrained transformers, and nets that are trained from scratch."""

from .build import encoder

__all__ = ["encoder"]
