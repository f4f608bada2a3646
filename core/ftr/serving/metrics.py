"""What the service counts, for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
MODEL = ("model",)


class Metrics:
    """Counters and histograms of one service; `waiting` gives the requests that wait, by model."""

    def __init__(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        registry = self.registry = CollectorRegistry()
        self.requests = Counter(
            "ftr_requests",
            "Requests for predictions, by HTTP status; without a model where none was found.",
            ("model", "status"),
            registry=registry,
        )
        self.rows = Counter(
            "ftr_rows",
            "Rows of requests: predicted, or unusable.",
            ("model", "result"),
            registry=registry,
        )
        self.seconds = Histogram(
            "ftr_request_seconds",
            "Time from the head of a request to its answer.",
            MODEL,
            buckets=SECONDS,
            registry=registry,
        )
        self.waited = Histogram(
            "ftr_wait_seconds",
            "Time that a request waited for its first call of the model.",
            MODEL,
            buckets=SECONDS,
            registry=registry,
        )
        self.batch_rows = Histogram(
            "ftr_batch_rows",
            "Rows in the calls of the model that answered a request; once for each request.",
            MODEL,
            buckets=ROWS,
            registry=registry,
        )
        self.in_flight = Gauge(
            "ftr_requests_in_flight", "Requests that are not answered yet.", registry=registry
        )
        registry.register(_Waiting(waiting))

    def text(self) -> bytes:
        """Return all of it in the format of Prometheus."""
        return generate_latest(self.registry)


class _Waiting:
    """Reads the queues when it is asked."""

    def __init__(self, waiting: Callable[[], Mapping[str, int]]) -> None:
        self.waiting = waiting

    def collect(self) -> Iterable[Metric]:
        family = GaugeMetricFamily(
            "ftr_requests_waiting", "Requests that wait for a call of the model.", labels=MODEL
        )
        for name, count in self.waiting().items():
            family.add_metric([name], count)
        yield family
