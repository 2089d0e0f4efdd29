"""What this process has done lately: its own counters, looked at every few seconds, in a ring of fixed length.

Nothing is asked of the database for it, nothing is kept after a restart. With several processes each knows its own; all
of them together, and for longer, are Prometheus' (docs/howto/monitor.md).
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
"""Between two looks: each takes about a millisecond."""

SAMPLES_MAX: Final = 361
"""Half an hour."""

OF_API: Final = "/v1/"
"""Routes whose latency is shown: those of the API, not the console's own pages."""

_log = logging.getLogger("saldo.console")


class Sample(NamedTuple):
    """Counters at one moment.

    Attributes:
        at: seconds since the epoch.
        outcomes: transactions answered, by posted, refused, replayed.
        within: requests of the API answered within so many seconds, by these seconds.
    """

    at: float
    outcomes: Mapping[str, float]
    within: Mapping[float, float]
    queue: float


class Series(NamedTuple):
    """What charts show: a value for each time, or None. Rates are per second, latencies milliseconds."""

    times: list[float]
    posted: list[float]
    refused: list[float]
    replayed: list[float]
    p50: list[float | None]
    p99: list[float | None]
    queue: list[float]


class Samples:
    """The ring."""

    def __init__(self) -> None:
        self._samples: deque[Sample] = deque(maxlen=SAMPLES_MAX)

    async def run(self) -> None:
        """Looks, again and again."""
        while True:
            try:
                self.take(time.time())
            except Exception:
                _log.exception("a sample failed in a way nobody foresaw")
            await asyncio.sleep(SAMPLE_SECONDS)

    def take(self, now: float) -> None:
        """Looks once."""
        self._samples.append(Sample(now, _outcomes(), _within(), _queue()))

    def series(self) -> Series:
        """What happened between each two looks."""
        found = Series([], [], [], [], [], [], [])
        for before, after in pairwise(self._samples):
            seconds = max(after.at - before.at, 0.001)
            found.times.append(after.at)
            for name in ("posted", "refused", "replayed"):
                change = after.outcomes[name] - before.outcomes[name]
                getattr(found, name).append(round(change / seconds, 2))
            answered = {
                bound: count - before.within.get(bound, 0) for bound, count in after.within.items()
            }
            found.p50.append(quantile(answered, 0.5))
            found.p99.append(quantile(answered, 0.99))
            found.queue.append(after.queue)
        return found


def quantile(within: Mapping[float, float], part: float) -> float | None:
    """Milliseconds within which this part was answered, reckoned as Prometheus does; None: nothing was."""
    bounds = sorted(within)
    total = within[bounds[-1]] if bounds else 0
    if not total:
        return None
    below, low = 0.0, 0.0
    for bound in bounds:
        count = within[bound]
        if count >= total * part:
            if bound == float("inf"):
                return round(low * 1000, 2)
            share = (total * part - below) / (count - below) if count > below else 1.0
            return round((low + (bound - low) * share) * 1000, 2)
        below, low = count, bound
    return None


def _outcomes() -> dict[str, float]:
    found = Counter[str]({"posted": 0, "refused": 0, "replayed": 0})
    for name, labels, value in _values(OUTCOMES):
        if name.endswith("_total"):
            refused = "posted" if labels["outcome"] == "posted" else "refused"
            found["replayed" if labels["replayed"] == "true" else refused] += value  # type: ignore[assignment]
    return dict(found)


def _within() -> dict[float, float]:
    found: dict[float, float] = {}
    for name, labels, value in _values(HTTP_SECONDS):
        if name.endswith("_bucket") and labels["route"].startswith(OF_API):
            bound = float(labels["le"])
            found[bound] = found.get(bound, 0) + value
    return found


def _queue() -> float:
    return sum(value for _, _, value in _values(QUEUE_REQUESTS))


def _values(metric: object) -> Iterable[tuple[str, dict[str, str], float]]:
    """Of this process, also where several count together."""
    for family in metric.collect():  # type: ignore[attr-defined]
        for sample in family.samples:
            yield sample.name, sample.labels, sample.value
