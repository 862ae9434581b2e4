"""What a run will take, before it is run: bytes and seconds, from what is known and a few seconds of measurement."""

from __future__ import annotations

from .planner import Plan, plan

__all__ = ["Plan", "plan"]
