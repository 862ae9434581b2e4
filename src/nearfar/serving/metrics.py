"""Counts and times for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

_TIMES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30)
_SIZES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1024)


class Metrics:
    """The figures of one server.

    >>> metrics = Metrics()
    >>> metrics.answered("/search", 200, 0.02)
    >>> 'nearfar_requests_total{route="/search",status="200"} 1.0' in metrics.text().decode()
    True
    """

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "nearfar_requests", "Requests by route and status.", ("route", "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "nearfar_request_seconds", "Time to an answer.", ("route",), buckets=_TIMES, registry=self.registry
        )
        self._batches = Histogram(
            "nearfar_batch_size", "Requests that share a pass.", ("lane",), buckets=_SIZES, registry=self.registry
        )

    def answered(self, route: str, status: int, seconds: float) -> None:
        """Count a request."""
        self._requests.labels(route, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def batch(self, lane: str) -> Callable[[int], None]:
        """What counts the batches of a lane."""
        return self._batches.labels(lane).observe

    def watch(self, name: str, text: str, values: Mapping[str, Callable[[], float]]) -> None:
        """Show numbers as they are when someone looks, by lane."""
        gauge = Gauge(f"nearfar_{name}", text, ("lane",), registry=self.registry)
        for lane, value in values.items():
            gauge.labels(lane).set_function(value)

    def text(self) -> bytes:
        """All figures as Prometheus reads them."""
        return generate_latest(self.registry)
