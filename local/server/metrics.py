"""Prometheus metrics of the server."""

from typing import Any

import prometheus_client
from prometheus_client import Counter, Gauge, Histogram

CONTENT_TYPE = prometheus_client.CONTENT_TYPE_LATEST

# A short text takes a millisecond, an explanation of a long one seconds.
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128)


class Metrics:
    """The metrics of one server, in a registry of its own."""

    def __init__(self) -> None:
        self._registry = prometheus_client.CollectorRegistry()
        prometheus_client.ProcessCollector(registry=self._registry)
        by: Any = {"registry": self._registry, "namespace": "reviews"}
        self.requests = Counter("requests", "Answered requests.", ["method", "status"], **by)
        self.seconds = Histogram(
            "request_seconds", "From the head of a request to its response.", ["method"], buckets=_SECONDS, **by
        )
        self.batch_rows = Histogram("batch_rows", "Texts that were computed together.", buckets=_ROWS, **by)
        self.waiting_rows = Gauge("waiting_rows", "Texts of unfinished requests.", **by)
        self.workers = Gauge("workers", "Workers of the version in use that can compute.", **by)
        self.worker_restarts = Counter("worker_restarts", "Workers that died and were replaced.", **by)
        self.version = Gauge("model_version", "The version in use.", ["model"], **by)
        self.load_failures = Gauge("load_failures", "Versions that could not be loaded since the start.", **by)

    def observe(self, method: str, status: int, seconds: float) -> None:
        """Counts a request."""
        self.requests.labels(method, status).inc()
        self.seconds.labels(method).observe(seconds)

    def render(self) -> bytes:
        """Returns all metrics in Prometheus' text format."""
        return prometheus_client.generate_latest(self._registry)
