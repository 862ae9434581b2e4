"""The errors a user sees: what is wrong, where, and what to do."""

from __future__ import annotations


class NearfarError(Exception):
    """Root of every error that nearfar raises on purpose."""


class DataError(NearfarError, ValueError):
    """The data cannot be used as given; the message names the file or the row and the remedy."""


class ConfigError(NearfarError, ValueError):
    """A setting is unknown or impossible; the message names it and what is allowed."""
