"""Benchmark of the Python client in ordinary code. Client, service and database share the machine."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import repeat
from typing import Final

from benchmarks.bench import RunContext
from benchmarks.results.report import Row, Series
from saldo import AsyncClient, Client

THREADS: Final = 16

USERS: Final = 1000


def measure_client(bench: RunContext) -> Iterator[Row]:
    """Measure a writer in one thread, an asyncio writer, and single calls from many threads, in turns."""
    ways: dict[str, Callable[[str, float, int], int]] = {
        "Python client, a writer": _writer,
        "Python client, a writer of asyncio": _async_writer,
        f"Python client, single calls, {THREADS} threads": _calls,
    }
    rates = {name: Series() for name in ways}
    users = min(USERS, bench.scale.users)
    with bench.ledgers.fresh() as ledger, ledger.serve() as service:
        for _ in range(bench.scale.rounds):
            for name, way in ways.items():
                began = time.monotonic()
                posted = way(service.url, began + bench.scale.seconds, users)
                rates[name].add(posted / (time.monotonic() - began))
    for name, series in rates.items():
        yield Row(name, series, "/s")


def _writer(url: str, until: float, users: int) -> int:
    with Client(url) as saldo, saldo.writer() as writer:
        number = 0
        while time.monotonic() < until:
            writer.deposit(number % users + 1, "0.01")
            number += 1
    assert writer.failed == 0
    return writer.posted


def _async_writer(url: str, until: float, users: int) -> int:
    async def write() -> int:
        async with AsyncClient(url) as saldo, saldo.writer() as writer:
            number = 0
            while time.monotonic() < until:
                await writer.deposit(number % users + 1, "0.01")
                number += 1
        assert writer.failed == 0
        return writer.posted

    return asyncio.run(write())


def _calls(url: str, until: float, users: int) -> int:
    with Client(url) as saldo, ThreadPoolExecutor(THREADS) as threads:

        def call(first: int) -> int:
            count = 0
            for number in (first + index * THREADS for index, _ in enumerate(repeat(None))):
                if time.monotonic() >= until:
                    return count
                saldo.deposit(number % users + 1, "0.01")
                count += 1
            return count

        return sum(threads.map(call, range(THREADS)))
