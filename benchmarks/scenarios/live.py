"""Benchmark of the cost of live-stream subscribers for clients that post."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace

from benchmarks.bench import RunContext
from benchmarks.cost import ResourceUsage
from benchmarks.load import wrk
from benchmarks.load.readers import run_subscribers
from benchmarks.results.report import Row, Series
from harness.program.service import ServiceProcess

CONNECTIONS = 64

USERS = 1000
"""Number of users that transactions are posted to.

With 1,000 subscribers of one user each, every event therefore reaches exactly one subscriber.
"""


def measure_live_stream(bench: RunContext) -> Iterator[Row]:
    """Measure POST /v1/transaction at 64 connections with different numbers of subscribers, in turns."""
    audiences: dict[str, list[str]] = {
        "no subscriber": [],
        "100 subscribers of a user each": _of_users(bench, 100),
        "1,000 subscribers of a user each": _of_users(bench, 1000),
        "10 subscribers of everything": [""] * 10,
        "100 subscribers of everything": [""] * 100,
    }
    rates = {name: Series() for name in audiences}
    tails = {name: Series() for name in audiences}
    events = {name: Series() for name in audiences}
    costs = {name: ResourceUsage() for name in audiences}
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            for name, queries in audiences.items():
                driven, delivered, cost = _round(bench, service, queries)
                rates[name].add(driven.rate)
                tails[name].add(driven.p99_ms)
                events[name].add(delivered / bench.scale.seconds)
                costs[name] += cost
    alone = rates["no subscriber"].median
    for name, queries in audiences.items():
        title = f"single POST, {CONNECTIONS} connections, {name}"
        yield Row(title, rates[name], "/s", "no subscriber", alone, cost=costs[name])
        yield Row(f"{title}: p99", tails[name], "ms")
        if queries:
            yield Row(f"{name}: events delivered", events[name], "/s")


def _round(
    bench: RunContext, service: ServiceProcess, queries: list[str]
) -> tuple[wrk.WrkResult, int, ResourceUsage]:
    """Run one round, and count the events that were delivered meanwhile."""
    requests = bench.posts(replace(bench.workload(0), users=_users(bench)))
    load = wrk.WrkLoad(service.url, requests, CONNECTIONS)
    with ExitStack() as stack:
        reading = stack.enter_context(run_subscribers(service.url, queries)) if queries else None
        (driven,), cost = bench.drive([service.process.pid], [load])
        delivered = 0 if reading is None else reading.events
    requests.file.unlink()
    return driven, delivered, cost


def _users(bench: RunContext) -> int:
    return min(USERS, bench.scale.users)


def _of_users(bench: RunContext, count: int) -> list[str]:
    return [f"user_id={number % _users(bench) + 1}" for number in range(count)]
