"""The metrics, named after Prometheus' conventions. No user ids, no amounts in labels."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Protocol

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, Metric
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
EVENTS_SUBSCRIBERS = Gauge(
    "saldo_events_subscribers", "Subscribers of the live stream.", multiprocess_mode="livesum"
)
EVENTS_CUT_OFF = Counter(
    "saldo_events_cut_off_total",
    "Subscribers of the live stream cut off because they were too slow.",
)


class SinkFigures(Protocol):
    """What is shown of a sink (`saldo.store.sinks.SinkStatus`)."""

    @property
    def name(self) -> str: ...
    @property
    def active(self) -> bool: ...
    @property
    def events_published(self) -> int: ...
    @property
    def events_unrouted(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def events_behind(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


_SINK_METRICS = (
    (GaugeMetricFamily, "saldo_sink_events_behind", "Events not yet confirmed.", "events_behind"),
    (
        GaugeMetricFamily,
        "saldo_sink_seconds_behind",
        "Age of the oldest event not yet confirmed.",
        "seconds_behind",
    ),
    (GaugeMetricFamily, "saldo_sink_active", "Whether a relay holds the sink's lease.", "active"),
    (
        CounterMetricFamily,
        "saldo_sink_events_published",
        "Events confirmed, repetitions counted.",
        "events_published",
    ),
    (
        CounterMetricFamily,
        "saldo_sink_events_unrouted",
        "Events confirmed that the sink had nobody to give to.",
        "events_unrouted",
    ),
    (CounterMetricFamily, "saldo_sink_failures", "Failures of the sink.", "failures"),
)


class _SinksCollector:
    """Reads what the relays have written into the database: whichever process relays, every one tells the same."""

    def __init__(self, sinks: Sequence[SinkFigures]) -> None:
        self._sinks = sinks

    def collect(self) -> Iterator[Metric]:
        for family, name, help_, attribute in _SINK_METRICS:
            metric = family(name, help_, labels=["sink"])
            for sink in self._sinks:
                metric.add_metric([sink.name], float(getattr(sink, attribute)))
            yield metric


def exposition(*, several_processes: bool, sinks: Sequence[SinkFigures] = ()) -> bytes:
    """All metrics of all worker processes, in Prometheus' text format."""
    registry = REGISTRY
    if several_processes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    text = generate_latest(registry)
    if sinks:
        own = CollectorRegistry()
        own.register(_SinksCollector(sinks))
        text += generate_latest(own)
    return text
