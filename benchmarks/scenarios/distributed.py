"""Benchmark of a distributed ledger on a local Citus cluster, compared with a plain ledger on the same server.

All nodes share the processors of this machine, so the rates say little about a real cluster. The figures that count
are the CPU time of a transaction on each node, and the number of transactions per call. The relay and the sealer do not
run during these measurements. A separate row measures the CPU time that they cost the workers while nothing is posted.
"""

from __future__ import annotations

import os
import re
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import httpx
import psycopg

from benchmarks.bench import RunContext
from benchmarks.cost import tree_seconds
from benchmarks.ledgers import read_statement
from benchmarks.load import ndjson, wrk
from benchmarks.results.report import Row, Series
from harness.postgresql import databases
from harness.program.service import ServiceProcess, run_unforked_service

URL: Final = os.environ.get("SALDO_TEST_CITUS_URL", "")
MISSING: Final = "no Citus cluster (SALDO_TEST_CITUS_URL): distributed is skipped"

USERS: Final = 10_000
CLUSTERS: Final = {
    1: ((4, True),),
    2: ((8, False), (2, True), (4, True)),
    4: ((4, True),),
}
"""The configurations by number of workers: the number of lanes, and whether the lanes connect to the workers.

If they connect to the workers, the number of lanes is per worker.
"""
CONNECTIONS: Final = (64, 256)
BULK_LINES: Final = 30_000
WARM_LINES: Final = 10_000
POLL_SECONDS: Final = 0.2
FULLY_SEALED: Final = re.compile(r"^saldo_seals_seconds_behind 0(?:\.0)?$", re.MULTILINE)
BATCHES: Final = re.compile(r"^saldo_batch_requests_(sum|count)\S* (\S+)$", re.MULTILINE)


def is_available() -> bool:
    """Return whether a cluster is configured."""
    return bool(URL)


@dataclass
class RoundResults:
    """The results of the rounds on one ledger.

    Fields that end in `_us` are CPU time per transaction in microseconds.
    """

    rate: Series = field(default_factory=Series)
    p99_ms: Series = field(default_factory=Series)
    batch: Series = field(default_factory=Series)
    coordinator_us: Series = field(default_factory=Series)
    workers_us: Series = field(default_factory=Series)
    service_us: Series = field(default_factory=Series)


@dataclass(frozen=True)
class Nodes:
    """The process ids of the cluster's postmasters, which run on this machine."""

    coordinator: int
    workers: tuple[int, ...]

    @classmethod
    def from_url(cls, url: str) -> Nodes:
        """Read the process id of each node."""
        with psycopg.connect(url, autocommit=True) as connection:
            rows = connection.execute(
                "SELECT nodename, nodeport FROM pg_dist_node WHERE shouldhaveshards"
            ).fetchall()
        return cls(_pid(url), tuple(_pid(databases.replace_server(url, *row)) for row in rows))

    def seconds(self) -> tuple[float, float]:
        """Return the CPU time in seconds of the coordinator, and of all workers together."""
        return tree_seconds(self.coordinator), sum(map(tree_seconds, self.workers))


def measure_distributed_ledger(bench: RunContext) -> Iterator[Row]:
    """Measure single POSTs and a stream on plain tables and on clusters.

    The lanes connect to the coordinator or to the workers.
    """
    nodes = Nodes.from_url(URL)
    with _ledger(None) as urls:
        yield from _rows(bench, nodes, urls, "plain")
    for workers, ways in CLUSTERS.items():
        if workers > len(nodes.workers):
            continue
        with _ledger(workers) as urls:
            name = f"distributed: nothing posted, sealed and relayed, {workers} workers"
            yield Row(name, _idle(bench, nodes, urls), "ms of the workers' processors a second")
            for lanes, direct in ways:
                way = f"{lanes} lanes to each" if direct else f"{lanes} lanes to the coordinator"
                given = {"SALDO_LANES": str(lanes), "SALDO_CONNECT_TO_WORKERS": str(direct).lower()}
                yield from _rows(bench, nodes, urls | given, f"{workers} workers, {way}")


def _rows(bench: RunContext, nodes: Nodes, settings: dict[str, str], name: str) -> Iterator[Row]:
    with run_unforked_service(bench.directory, SALDO_RELAY_ENABLED="false", **settings) as running:
        # Warm up, so that all connections from the lanes to the workers are open.
        ndjson.send(running.url, bench.body(bench.workload(WARM_LINES), users=USERS).data)
        for connections in CONNECTIONS:
            results = RoundResults()
            for _ in range(bench.scale.rounds):
                requests = bench.posts(bench.workload(0), users=USERS)
                load = wrk.WrkLoad(running.url, requests, connections)
                with _record_cost(nodes, running, results) as counted:
                    driven = wrk.drive(load, bench.scale.seconds)
                    counted.append(driven.requests)
                requests.file.unlink()
                results.rate.add(driven.rate)
                results.p99_ms.add(driven.p99_ms)
            yield from _result_rows(
                f"distributed: single POST, {connections} connections, {name}", results
            )
        results = RoundResults()
        for _ in range(bench.scale.rounds):
            body = bench.body(bench.workload(BULK_LINES), users=USERS)
            with _record_cost(nodes, running, results) as counted:
                answer = ndjson.send(running.url, body.data)
                counted.append(BULK_LINES)
            ndjson.check(answer, body.data)
            results.rate.add(BULK_LINES / answer.seconds)
        yield from _result_rows(f"distributed: bulk, {name}", results)


def _idle(bench: RunContext, nodes: Nodes, settings: dict[str, str]) -> Series:
    found = Series()
    with run_unforked_service(bench.directory, **settings) as running:
        while not FULLY_SEALED.search(httpx.get(f"{running.url}/metrics").text):
            time.sleep(POLL_SECONDS)
        for _ in range(bench.scale.rounds):
            (_, before), began = nodes.seconds(), time.perf_counter()
            time.sleep(bench.scale.seconds)
            (_, after), ended = nodes.seconds(), time.perf_counter()
            found.add((after - before) / (ended - began) * 1000)
    return found


def _result_rows(name: str, results: RoundResults) -> Iterator[Row]:
    yield Row(name, results.rate, "/s")
    if results.p99_ms.values:
        yield Row(f"{name}: p99", results.p99_ms, "ms")
    yield Row(f"{name}: transactions in a call", results.batch, "")
    yield Row(f"{name}: service", results.service_us, "µs")
    yield Row(f"{name}: coordinator", results.coordinator_us, "µs")
    yield Row(f"{name}: workers", results.workers_us, "µs")


@contextmanager
def _record_cost(
    nodes: Nodes, running: ServiceProcess, results: RoundResults
) -> Iterator[list[int]]:
    """Add the cost per transaction of a round. The caller appends the number of transactions to the yielded list."""
    counted: list[int] = []
    before = (*nodes.seconds(), tree_seconds(running.process.pid), *_batches(running.url))
    yield counted
    after = (*nodes.seconds(), tree_seconds(running.process.pid), *_batches(running.url))
    coordinator, workers, served, requests, calls = (
        b - a for a, b in zip(before, after, strict=True)
    )
    results.coordinator_us.add(coordinator / counted[0] * 1e6)
    results.workers_us.add(workers / counted[0] * 1e6)
    results.service_us.add(served / counted[0] * 1e6)
    results.batch.add(requests / max(calls, 1))


def _batches(url: str) -> tuple[float, float]:
    """Return the number of requests that the lanes have sent, and the number of calls."""
    found = {
        name: float(value) for name, value in BATCHES.findall(httpx.get(f"{url}/metrics").text)
    }
    return found["sum"], found["count"]


@contextmanager
def _ledger(workers: int | None) -> Iterator[dict[str, str]]:
    """Create a ledger with users 1, 2, 3 … and yield the settings of a service for it.

    Args:
        workers: The number of workers, or None for a ledger that is not distributed.
    """
    with databases.create_ledger(URL, distributed=workers is not None, workers=workers) as database:
        with psycopg.connect(database.owner_role_url, autocommit=True) as owner:
            owner.execute(read_statement("open_users").encode(), (USERS,))
            owner.execute(read_statement("open_entries").encode())
        yield {
            "SALDO_DATABASE_URL": database.service_role_url,
            "SALDO_DATABASE_OWNER_URL": database.owner_role_url,
        }


def _pid(url: str) -> int:
    with psycopg.connect(url, autocommit=True) as connection:
        row = connection.execute("SELECT pg_read_file('postmaster.pid')").fetchone()
    assert row is not None
    pid = int(row[0].splitlines()[0])
    assert Path(f"/proc/{pid}").is_dir(), "the cluster is on other machines"
    return pid
