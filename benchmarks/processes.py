"""Several service processes on one database, each with its share of the connections."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

from tests.acceptance.service import ServiceProcess

from benchmarks import wrk
from benchmarks.bench import Bench
from benchmarks.cost import Cost
from benchmarks.report import Row, Series, Target

CONNECTIONS = (64, 512)
"""In all: at the first eight processes have eight each, at the last as many each as one has at the first."""


def processes(bench: Bench) -> Iterator[Row]:
    """`saldo serve` 1, 2, 4 and 8 times, one wrk for each, at the same time."""
    with bench.ledgers.fresh() as ledger, ExitStack() as stack:
        most = max(bench.scale.processes)
        running = [stack.enter_context(ledger.serve()) for _ in range(most)]
        for connections in CONNECTIONS:
            yield from _rows(bench, running, connections)


def _rows(bench: Bench, running: list[ServiceProcess], connections: int) -> Iterator[Row]:
    counts = bench.scale.processes
    rates = {number: Series() for number in counts}
    tails = {number: Series() for number in counts}
    costs = {number: Cost() for number in counts}
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
    bench: Bench, running: list[ServiceProcess], connections: int
) -> tuple[float, float, Cost]:
    """All of their requests per second, and the worst 99th percentile of theirs."""
    number = len(running)
    loads = [
        wrk.Load(service.url, bench.posts(bench.workload(0), shares=number), connections // number)
        for service in running
    ]
    driven, cost = bench.drive([service.process.pid for service in running], loads)
    for load in loads:
        load.requests.file.unlink()
    return sum(each.rate for each in driven), max(each.p99_ms for each in driven), cost
