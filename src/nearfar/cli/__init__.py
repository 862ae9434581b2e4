"""The command: nearfar fit, embed, evaluate, report, methods, objectives, demo; a file for each."""

from __future__ import annotations

from . import demo, embed, fit, lists, measure  # noqa: F401  (each adds its commands)
from .app import app, main

__all__ = ["app", "main"]
