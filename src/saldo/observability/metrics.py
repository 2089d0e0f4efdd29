"""The metrics, named after Prometheus' conventions. No user ids, no amounts in labels."""

from __future__ import annotations

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

HTTP_REQUESTS = Counter(
    "saldo_http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
)
OUTCOMES = Counter(
    "saldo_outcomes_total", "Transactions answered, by outcome.", ["outcome", "replayed"]
)
BATCH_REQUESTS = Histogram(
    "saldo_batch_requests",
    "Requests of a batch.",
    buckets=(1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000),
)
BATCH_SECONDS = Histogram("saldo_batch_seconds", "Time from sending a batch to its commit.")
QUEUE_REQUESTS = Gauge(
    "saldo_queue_requests", "Requests waiting for a batch.", multiprocess_mode="livesum"
)
SHED = Counter("saldo_requests_shed_total", "Requests refused because the queue was full.")
RESENDS = Counter("saldo_batch_resends_total", "Batches sent again.")
RECONNECTS = Counter("saldo_lane_connects_total", "Connections made by lanes.")


def exposition(*, several_processes: bool) -> bytes:
    """All metrics of all worker processes, in Prometheus' text format."""
    registry = REGISTRY
    if several_processes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)
