"""What a server allows."""

from __future__ import annotations

from pydantic import Field

from nearfar.settings import Settings


class ServeSettings(Settings):
    """Limits of a server, each with a default that suits one machine."""

    rate: float = Field(default=50.0, ge=0, description="requests a second for each client; 0 for any")
    waiting: int = Field(default=128, ge=1, le=10_000, description="requests that run or wait; more are answered 503")
    batch: int = Field(default=32, ge=1, le=1024, description="questions that share a pass")
    timeout: float = Field(default=30.0, gt=0, le=3600, description="seconds for a request, then 503")
    most_bytes: int = Field(default=10_000_000, ge=1000, description="of a request")
    hosts: tuple[str, ...] = Field(default=(), description="further names by which this server may be called")
