"""What a cluster will carry: a model of a few measured costs, and a plot of it beside what was measured.

A lane takes the shard whose oldest request has waited longest, so the shards are served in turn, and what waits for one
grows evenly from nothing to what a call takes. With `c` clients that ask again at once, 64 shards and `l` lanes, all
busy, half a call waits for each shard, and each lane holds one: `c = k (64 / 2 + l)`, where `k` requests go in a call.
What a call costs its worker grows with a power of its size that is fitted to what was measured.
See docs/explanation/scale.md.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.report import Record
from saldo.ledger.model import SHARDS

NAME = re.compile(
    r"distributed: (?:single POST, (?P<connections>\d+) connections|bulk),"
    r" (?P<workers>\d+) workers, (?P<lanes>\d+) lanes to (?P<to>each|the coordinator)(?:: (?P<figure>.+))?"
)
"""Of a row of the benchmark `distributed`."""


@dataclass(frozen=True, slots=True)
class Run:
    """One load on one cluster, as it was measured.

    Attributes:
        connections: None: a stream.
        lanes: of all workers.
        direct: whether they connect to the workers.
        in_call: transactions in a call.
        worker_us, service_us: of a processor, for each transaction.
    """

    connections: int | None
    workers: int
    lanes: int
    direct: bool
    in_call: float
    worker_us: float
    service_us: float


def runs_of(rows: Sequence[Record]) -> list[Run]:
    """What the rows of `distributed` tell."""
    figures: dict[tuple[int | None, int, int, bool], dict[str, float]] = {}
    for row in rows:
        match = NAME.fullmatch(row["name"])
        if match is None:
            continue
        workers, direct = int(match["workers"]), match["to"] == "each"
        lanes = int(match["lanes"]) * (workers if direct else 1)
        connections = None if match["connections"] is None else int(match["connections"])
        found = figures.setdefault((connections, workers, lanes, direct), {})
        if match["figure"] is not None:
            found[match["figure"]] = float(row["measured"])
    return [
        Run(*key, found["transactions in a call"], found["workers"], found["service"])
        for key, found in figures.items()
    ]


def requests_in_call(clients: float, lanes: int) -> float:
    """How many single requests go in a call.

    Args:
        clients: of one service process, that wait for one request each at any time.
        lanes: of that process, to all workers.
    """
    return max(1.0, clients / (SHARDS / 2 + lanes))


class Cost:
    """What a call costs the worker, microseconds of a processor: a power of its size, fitted to what was measured."""

    def __init__(self, runs: Sequence[Run]) -> None:
        direct = [run for run in runs if run.direct]
        self._fit = statistics.linear_regression(
            [math.log(run.in_call) for run in direct],
            [math.log(run.in_call * run.worker_us) for run in direct],
        )

    def of(self, size: float) -> float:
        """Of a call of so many transactions."""
        return math.exp(self._fit.intercept + self._fit.slope * math.log(size))


PROCESSORS: Final = 8
SERVICES: Final = 8
"""Of the clusters that are drawn: each worker's processors; service processes, with one each."""

ROUND_TRIP_US: Final = 1000.0
"""Of a call beside its worker's own work, as assumed: the network there and back, and the commit on its disk."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """What is asked about. lanes: of each service to each worker."""

    workers: int
    processors: int = PROCESSORS
    lanes: int = 4
    services: int = 1


@dataclass(frozen=True, slots=True)
class Limits:
    """Transactions a second that each part would carry; the least of them is what all carry."""

    workers: float
    lanes: float
    services: float


def limits(cluster: Cluster, clients: int, runs: Sequence[Run]) -> Limits:
    """What so many clients, shared out evenly to the services, get of a cluster.

    Args:
        runs: what was measured.
    """
    lanes = cluster.lanes * cluster.workers
    in_call = requests_in_call(clients / cluster.services, lanes)
    call_us = Cost(runs).of(in_call)
    # A service can't have more calls in flight than it has requests.
    busy = min(lanes, clients / cluster.services / in_call)
    service_us = statistics.median(
        run.service_us for run in runs if run.direct and run.connections is not None
    )
    return Limits(
        workers=cluster.workers * cluster.processors * in_call / call_us * 1e6,
        lanes=cluster.services * busy * in_call / (call_us + ROUND_TRIP_US) * 1e6,
        services=cluster.services / service_us * 1e6,
    )


def carried(cluster: Cluster, clients: int, runs: Sequence[Run]) -> float:
    """The least of the limits."""
    found = limits(cluster, clients, runs)
    return min(found.workers, found.lanes, found.services)
