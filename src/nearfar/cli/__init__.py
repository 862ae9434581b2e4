"""The command: nearfar fit, compare, embed, evaluate, report, weights, methods, objectives, demo; a file for each."""

from __future__ import annotations

from . import compare, demo, drift, embed, fit, lists, measure, weights  # noqa: F401  (each adds its commands)
from .app import app, main

__all__ = ["app", "main"]
