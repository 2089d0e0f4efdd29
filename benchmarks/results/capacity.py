"""A model of the capacity of a cluster, derived from a few measured costs.

A lane takes the shard whose oldest request has waited longest. The shards are therefore served in turn, and the queue
of a shard grows evenly from nothing to the size of a call. A call has `k` requests. Assume `c` clients that send the
next request at once, 64 shards, and `l` lanes that are all busy. On average half a call waits for each shard, and each
lane holds one call: `c = k (64 / 2 + l)`. The cost of a call for its worker is a power of its size that is fitted to
the measurements. See docs/explanation/scale.md.
"""

from __future__ import annotations

import math
import re
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from benchmarks.results.report import Record
from saldo.ledger.model import SHARDS

NAME = re.compile(
    r"distributed: (?:single POST, (?P<connections>\d+) connections|bulk),"
    r" (?P<workers>\d+) workers, (?P<lanes>\d+) lanes to (?P<to>each|the coordinator)(?:: (?P<figure>.+))?"
)
"""The pattern of the names of the rows of the benchmark `distributed`."""


@dataclass(frozen=True, slots=True)
class Measurement:
    """The measurement of one load on one cluster.

    Attributes:
        connections: The number of connections, or None for a bulk stream.
        lanes: The number of lanes to all workers together.
        direct: Whether the lanes connect to the workers and not to the coordinator.
        in_call: The number of transactions per call.
        worker_us, service_us: The CPU time per transaction in microseconds.
    """

    connections: int | None
    workers: int
    lanes: int
    direct: bool
    in_call: float
    worker_us: float
    service_us: float


def runs_of(rows: Sequence[Record]) -> list[Measurement]:
    """Parse the rows of the benchmark `distributed`."""
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
        Measurement(*key, found["transactions in a call"], found["workers"], found["service"])
        for key, found in figures.items()
    ]


def requests_in_call(clients: float, lanes: int) -> float:
    """Return the modelled number of single requests per call.

    Args:
        clients: The clients of one service process, each of which always has one request in flight.
        lanes: The lanes of that process to all workers.
    """
    return max(1.0, clients / (SHARDS / 2 + lanes))


class CallCost:
    """The CPU time that a call costs its worker, as a power of the call's size that is fitted to the measurements."""

    def __init__(self, runs: Sequence[Measurement]) -> None:
        direct = [run for run in runs if run.direct]
        self._fit = statistics.linear_regression(
            [math.log(run.in_call) for run in direct],
            [math.log(run.in_call * run.worker_us) for run in direct],
        )

    def estimate(self, size: float) -> float:
        """Return the CPU time in microseconds of a call with this number of transactions."""
        return math.exp(self._fit.intercept + self._fit.slope * math.log(size))


PROCESSORS: Final = 8
SERVICES: Final = 8
"""Number of service processes in the clusters that are drawn, each on one processor.

`PROCESSORS` is the number of processors of each worker.
"""

ROUND_TRIP_US: Final = 1000.0
"""Assumed time that the network and the commit add to a call, in microseconds. The worker's CPU time is not
included."""


@dataclass(frozen=True, slots=True)
class Cluster:
    """The cluster to model.

    Attributes:
        processors: The number of processors of each worker.
        lanes: The number of lanes from each service to each worker.
    """

    workers: int
    processors: int = PROCESSORS
    lanes: int = 4
    services: int = 1


@dataclass(frozen=True, slots=True)
class ClusterLimits:
    """The transactions per second that each part can carry. The smallest value is the capacity of the whole."""

    workers: float
    lanes: float
    services: float


def limits(cluster: Cluster, clients: int, runs: Sequence[Measurement]) -> ClusterLimits:
    """Return the limits of a cluster for a number of clients that are spread evenly over the services.

    Args:
        runs: The measurements.
    """
    lanes = cluster.lanes * cluster.workers
    in_call = requests_in_call(clients / cluster.services, lanes)
    call_us = CallCost(runs).estimate(in_call)
    # The requests in flight limit the number of a service's calls in flight.
    busy = min(lanes, clients / cluster.services / in_call)
    service_us = statistics.median(
        run.service_us for run in runs if run.direct and run.connections is not None
    )
    return ClusterLimits(
        workers=cluster.workers * cluster.processors * in_call / call_us * 1e6,
        lanes=cluster.services * busy * in_call / (call_us + ROUND_TRIP_US) * 1e6,
        services=cluster.services / service_us * 1e6,
    )


def capacity_of(cluster: Cluster, clients: int, runs: Sequence[Measurement]) -> float:
    """Return the capacity of a cluster in transactions per second, which is the smallest of its limits."""
    found = limits(cluster, clients, runs)
    return min(found.workers, found.lanes, found.services)
