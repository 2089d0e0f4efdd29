"""Benchmark of several service processes on one database, each with an equal share of the connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from benchmarks.bench import RunContext
from benchmarks.cost import ResourceUsage
from benchmarks.load import wrk
from benchmarks.results.report import Row, Series, Target
from harness.program.service import ServiceProcess

CONNECTIONS = (64, 512)
"""Total numbers of connections.

With 64 connections, each of eight processes has 8 of them. With 512, each of eight has 64, as many as a single process
has with 64 in total.
"""


def measure_processes(bench: RunContext) -> Iterator[Row]:
    """Measure 1, 2, 4 and 8 processes of `saldo serve`, each driven by one wrk at the same time."""
    with bench.ledgers.fresh() as ledger, ExitStack() as stack:
        most = max(bench.scale.processes)
        running = [stack.enter_context(ledger.serve()) for _ in range(most)]
        for connections in CONNECTIONS:
            yield from _rows(bench, running, connections)


def _rows(bench: RunContext, running: list[ServiceProcess], connections: int) -> Iterator[Row]:
    counts = bench.scale.processes
    rates = {number: Series() for number in counts}
    tails = {number: Series() for number in counts}
    costs = {number: ResourceUsage() for number in counts}
    for _ in range(bench.scale.rounds):
        for number in counts:
            rate, p99_ms, cost = _round(bench, running[:number], connections)
            rates[number].add(rate)
            tails[number].add(p99_ms)
            costs[number] += cost
    best = max(series.median for series in rates.values())
    for number in counts:
        last = number == max(counts)
        name = f"single POST, {connections} connections, {number} processes"
        target = Target(ratio_at_least=0.9) if last else None
        yield Row(name, rates[number], "/s", "best number", best, target, costs[number])
        target = Target(ratio_at_most=3) if last else None
        one = tails[counts[0]].median
        yield Row(f"{name}: worst p99", tails[number], "ms", "1 process", one, target)


def _round(
    bench: RunContext, running: list[ServiceProcess], connections: int
) -> tuple[float, float, ResourceUsage]:
    """Run one round, and return the total requests per second, the worst 99th percentile latency, and the resources
    that were used."""
    number = len(running)
    loads = [
        wrk.WrkLoad(
            service.url, bench.posts(bench.workload(0), shares=number), connections // number
        )
        for service in running
    ]
    driven, cost = bench.drive([service.process.pid for service in running], loads)
    for load in loads:
        load.requests.file.unlink()
    return sum(each.rate for each in driven), max(each.p99_ms for each in driven), cost
