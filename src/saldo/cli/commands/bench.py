"""`saldo bench` measures a service on this machine. For results that can be compared, use `make bench`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Annotated, NamedTuple

import typer

from saldo.cli.connection.child_service import child_service
from saldo.cli.connection.service import Key, KeyFile, ServiceOptions, Url, connect
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import print_json, print_note, print_table
from saldo.cli.progress import show_progress
from saldo.client.asynchronous.client import AsyncClient
from saldo.lifecycle.tasks import run_task

WARMUP_SECONDS = 1.0
"""Duration of the warm-up before each measurement of single requests, in seconds. The warm-up opens connections and
fills caches."""


PROGRESS_SECONDS = 0.5
"""Interval between two updates of the progress, in seconds. Updates after each request would slow the client down."""

AMOUNT = 1
"""Amount of each deposit. A whole number is valid in any currency."""


@dataclass
class Tally:
    """The number of operations that were answered so far. An operation is a single request or a line of the stream."""

    operations: int = 0


class Measurement(NamedTuple):
    """The result of one measurement. The latencies are those of single requests; for the stream they are None."""

    what: str
    per_second: float
    p50_ms: float | None
    p99_ms: float | None


def bench(
    seconds: Annotated[
        float, typer.Option(help="Duration of each measurement.", min=1, max=600)
    ] = 5.0,
    connections: Annotated[
        int, typer.Option(help="Number of concurrent requests.", min=1, max=1000)
    ] = 32,
    users: Annotated[int, typer.Option(help="Number of users to create.", min=1, max=10_000)] = 100,
    real: Annotated[
        bool,
        typer.Option(
            "--real",
            help="Measure the service at --url. The users and deposits remain in its ledger permanently.",
        ),
    ] = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Measure the throughput and latency of a service.

    The command measures single deposits, a stream of deposits and reads of a balance. By default it starts a service
    with an empty ledger in a temporary directory, and removes it at the end. The client runs on the same machine and
    uses a part of its CPU time.
    """
    if real:
        if url is None:
            raise CommandError("--real requires --url", ExitCode.USAGE)
        with connect(ServiceOptions(url, key, key_file)) as service:
            http = service.connection.http
            secret = http.headers.get("authorization", "").removeprefix("Bearer ") or None
            figures = asyncio.run(_measure(url, secret, seconds, connections, users))
    else:
        with tempfile.TemporaryDirectory(prefix="saldo-bench-") as directory:
            print_note("saldo: starting a temporary service with an empty ledger")
            apart = {"SALDO_DATA_DIR": f"{directory}/data", "SALDO_DATABASE_URL": ""}
            with child_service(apart) as child:
                figures = asyncio.run(_measure(child.url, child.key, seconds, connections, users))
    if json_:
        for each in figures:
            print_json(each._asdict())
        return
    print_table(
        ("operation", "per second", "p50, ms", "p99, ms"),
        [
            (
                each.what,
                f"{each.per_second:,.0f}",
                _milliseconds(each.p50_ms),
                _milliseconds(each.p99_ms),
            )
            for each in figures
        ],
    )


async def _measure(
    url: str, key: str | None, seconds: float, connections: int, users: int
) -> list[Measurement]:
    tally = Tally()
    async with (
        AsyncClient(url, key=key) as client,
        _show_progress(tally, 3 * seconds + 2 * WARMUP_SECONDS),
    ):
        run = time.time_ns()
        ids = [(await client.create_user(f"bench {run} {n}")).id for n in range(users)]

        async def deposit(turn: int) -> None:
            await client.deposit(ids[turn % users], AMOUNT)

        async def ask(turn: int) -> None:
            await client.balance(ids[turn % users])

        single = await _measure_requests(
            f"single deposits, {connections} concurrent", deposit, tally, seconds, connections
        )
        stream = await _measure_stream(client, ids, tally, seconds)
        asked = await _measure_requests(
            f"balance reads, {connections} concurrent", ask, tally, seconds, connections
        )
        return [single, stream, asked]


@asynccontextmanager
async def _show_progress(tally: Tally, seconds: float) -> AsyncIterator[None]:
    """Show the progress of the measurements while the block runs. `seconds` is their expected total duration."""
    began = time.monotonic()
    with show_progress("measuring", unit="operations") as progress:

        async def update() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                elapsed = round(time.monotonic() - began)
                progress.show(tally.operations, elapsed, max(elapsed, round(seconds)))

        async with run_task(update(), name="progress"):
            yield


async def _measure_requests(
    what: str,
    act: Callable[[int], Awaitable[None]],
    tally: Tally,
    seconds: float,
    connections: int,
) -> Measurement:
    begin = time.perf_counter() + WARMUP_SECONDS
    end = begin + seconds
    taken: list[float] = []

    async def work(turn: int) -> None:
        while (now := time.perf_counter()) < end:
            await act(turn)
            tally.operations += 1
            done = time.perf_counter()
            turn += connections
            if begin <= now and done <= end:
                taken.append(done - now)

    await asyncio.gather(*(work(turn) for turn in range(connections)))
    taken.sort()
    return Measurement(what, len(taken) / seconds, _quantile(taken, 0.5), _quantile(taken, 0.99))


async def _measure_stream(
    client: AsyncClient, ids: list[int], tally: Tally, seconds: float
) -> Measurement:
    begin = time.perf_counter()
    sent = 0
    async with client.writer() as writer:
        while time.perf_counter() < begin + seconds:
            for _ in range(100):
                await writer.deposit(ids[sent % len(ids)], AMOUNT)
                sent += 1
                tally.operations += 1
    return Measurement("deposits in a stream", sent / (time.perf_counter() - begin), None, None)


def _quantile(ordered: list[float], part: float) -> float | None:
    return 1000 * ordered[int(part * (len(ordered) - 1))] if ordered else None


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
