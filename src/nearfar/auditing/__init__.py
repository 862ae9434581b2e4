"""What uneven data do to what is learned from them: trainings that differ in one thing, measured side by side."""

from __future__ import annotations

from .rare import audit_harms

__all__ = ["audit_harms"]
