"""The recent metrics of this process. Samples of the process's counters are kept in a ring buffer of fixed length.

Sampling makes no queries to the database, and a restart clears the buffer. Each process of a service has only its own
samples. For all processes together and for longer periods, use Prometheus (docs/howto/monitor.md).
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from itertools import pairwise
from typing import Final, NamedTuple

from saldo.observability.metrics import HTTP_SECONDS, OUTCOMES, QUEUE_REQUESTS

SAMPLE_SECONDS: Final = 5.0
"""Interval between two samples in seconds. Taking a sample costs about a millisecond."""

SAMPLES_MAX: Final = 361
"""Number of samples that are kept: half an hour."""

API_PREFIX: Final = "/v1/"
"""Prefix of the routes whose latency is shown. The console's own pages are excluded."""

_log = logging.getLogger("saldo.console")


class MetricsSample(NamedTuple):
    """The counters at one time.

    Attributes:
        at: The time of the sample, in seconds since the epoch.
        outcomes: The number of answered transactions, by `posted`, `refused` and `replayed`.
        within: The cumulative number of API requests by upper bound of their duration in seconds.
        queue: The number of transaction requests in the queue.
    """

    at: float
    outcomes: Mapping[str, float]
    counts_by_bound: Mapping[float, float]
    queue: float


class MetricsSeries(NamedTuple):
    """The series that the charts show, with one value for each time. A latency is None if there were no requests.

    Rates are in transactions per second, and latencies are in milliseconds.
    """

    times: list[float]
    posted: list[float]
    refused: list[float]
    replayed: list[float]
    p50: list[float | None]
    p99: list[float | None]
    queue: list[float]


class MetricsHistory:
    """The ring buffer of samples."""

    def __init__(self) -> None:
        self._samples: deque[MetricsSample] = deque(maxlen=SAMPLES_MAX)

    async def run(self) -> None:
        """Take samples until the task is cancelled."""
        while True:
            try:
                self.add_sample(time.time())
            except Exception:
                _log.exception("sampling the metrics failed unexpectedly")
            await asyncio.sleep(SAMPLE_SECONDS)

    def add_sample(self, now: float) -> None:
        """Take one sample."""
        self._samples.append(
            MetricsSample(now, _count_outcomes(), _read_latency_buckets(), _read_queue_length())
        )

    def compute_series(self) -> MetricsSeries:
        """Return the rates, latencies and queue lengths between consecutive samples."""
        series = MetricsSeries([], [], [], [], [], [], [])
        for before, after in pairwise(self._samples):
            seconds = max(after.at - before.at, 0.001)
            series.times.append(after.at)
            for name in ("posted", "refused", "replayed"):
                change = after.outcomes[name] - before.outcomes[name]
                getattr(series, name).append(round(change / seconds, 2))
            bucket_counts = {
                bound: count - before.counts_by_bound.get(bound, 0)
                for bound, count in after.counts_by_bound.items()
            }
            series.p50.append(estimate_quantile(bucket_counts, 0.5))
            series.p99.append(estimate_quantile(bucket_counts, 0.99))
            series.queue.append(after.queue)
        return series


def estimate_quantile(counts_by_bound: Mapping[float, float], fraction: float) -> float | None:
    """Estimate a quantile of the durations in milliseconds, as Prometheus' `histogram_quantile` does.

    Args:
        within: The cumulative number of requests by upper bound in seconds.
        fraction: The quantile, from 0 to 1.

    Returns:
        The duration, or None if there were no requests.
    """
    bounds = sorted(counts_by_bound)
    total = counts_by_bound[bounds[-1]] if bounds else 0
    if not total:
        return None
    below, low = 0.0, 0.0
    for bound in bounds:
        count = counts_by_bound[bound]
        if count >= total * fraction:
            if bound == float("inf"):
                return round(low * 1000, 2)
            share = (total * fraction - below) / (count - below) if count > below else 1.0
            return round((low + (bound - low) * share) * 1000, 2)
        below, low = count, bound
    return None


def _count_outcomes() -> dict[str, float]:
    counts = Counter[str]({"posted": 0, "refused": 0, "replayed": 0})
    for name, labels, value in _iterate_values(OUTCOMES):
        if name.endswith("_total"):
            outcome = "posted" if labels["outcome"] == "posted" else "refused"
            counts["replayed" if labels["replayed"] == "true" else outcome] += value  # type: ignore[assignment]
    return dict(counts)


def _read_latency_buckets() -> dict[float, float]:
    buckets: dict[float, float] = {}
    for name, labels, value in _iterate_values(HTTP_SECONDS):
        if name.endswith("_bucket") and labels["route"].startswith(API_PREFIX):
            bound = float(labels["le"])
            buckets[bound] = buckets.get(bound, 0) + value
    return buckets


def _read_queue_length() -> float:
    return sum(value for _, _, value in _iterate_values(QUEUE_REQUESTS))


def _iterate_values(metric: object) -> Iterable[tuple[str, dict[str, str], float]]:
    """Yield the name, the labels and the value of each sample of a metric, for this process only."""
    for family in metric.collect():  # type: ignore[attr-defined]
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
