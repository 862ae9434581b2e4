"""A store as an interactive map in the browser, served on this machine alone or written to a folder."""

from __future__ import annotations

from .site import serve, write_site
from .table import MOST, Mapped, mapped

__all__ = ["MOST", "Mapped", "mapped", "serve", "write_site"]
