"""The command: nearfar fit, plan, compare, embed, evaluate, report, weights, methods, ...; a file for each."""

from __future__ import annotations

from . import check, compare, demo, drift, embed, export, fit, lists, measure, plan, weights  # noqa: F401  (each adds its commands)
from .app import app, main

__all__ = ["app", "main"]
