"""A store over HTTP: an API to embed and search, and a page to search with; `serve` starts it."""

from __future__ import annotations

from .server import read_token, serve
from .settings import ServeSettings

__all__ = ["ServeSettings", "read_token", "serve"]
