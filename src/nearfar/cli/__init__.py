"""The command: nearfar fit, plan, compare, embed, evaluate, report, weights, methods, ...; a file for each."""

from __future__ import annotations

from . import (  # noqa: F401  (each adds a command)
    check,
    compare,
    dedupe,
    demo,
    drift,
    embed,
    export,
    fit,
    lists,
    look,
    measure,
    mine,
    plan,
    serve,
    store,
    weights,
)
from .app import app, main

__all__ = ["app", "main"]
