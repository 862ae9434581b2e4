"""The command: nearfar fit, plan, compare, embed, evaluate, report, weights, methods, ...; a file for each."""

from __future__ import annotations

from . import (  # noqa: F401  (each adds a command)
    anomalies,
    ask,
    audit,
    check,
    cluster,
    compare,
    dedupe,
    demo,
    diag,
    drift,
    embed,
    explore,
    export,
    fit,
    generated,
    geometry,
    label,
    lists,
    look,
    measure,
    mine,
    outliers,
    plan,
    serve,
    store,
    weights,
)
from .app import app, main

__all__ = ["app", "main"]
