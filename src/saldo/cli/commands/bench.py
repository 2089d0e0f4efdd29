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

from saldo.cli.connection.child_service import run_child_service
from saldo.cli.connection.service import Key, KeyFile, ServiceOptions, Url, connect, find_url
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
class OperationCounter:
    """The number of operations that were answered so far. An operation is a single request or a line of the stream."""

    operations: int = 0


class LoadMeasurement(NamedTuple):
    """The result of one measurement. The latencies are those of single requests; for the stream they are None."""

    operation: str
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
            help="Measure the service at --url or SALDO_URL. The users and deposits remain in its ledger permanently.",
        ),
    ] = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Annotated[
        bool,
        typer.Option(
            "--local",
            help="Measure a temporary service with an empty ledger in a temporary directory.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Measure the throughput and latency of a service.

    The command measures single deposits, a stream of deposits and reads of a balance. With --local it starts a service
    with an empty ledger in a temporary directory, and removes it at the end. The client runs on the same machine and
    uses a part of its CPU time.
    """
    if real:
        target = ServiceOptions(url, key, key_file, local)
        named_url = find_url(target)
        if named_url is None:
            raise CommandError("--real requires --url or SALDO_URL", ExitCode.USAGE)
        with connect(target) as service:
            http = service.connection.http
            secret = http.headers.get("authorization", "").removeprefix("Bearer ") or None
            figures = asyncio.run(_measure(named_url, secret, seconds, connections, users))
    elif not local:
        raise CommandError(
            "choose what to measure: --local starts a temporary service with an empty ledger, and --real measures "
            "the service at --url or SALDO_URL",
            ExitCode.USAGE,
        )
    else:
        with tempfile.TemporaryDirectory(prefix="saldo-bench-") as directory:
            print_note("saldo: starting a temporary service with an empty ledger")
            child_environment = {"SALDO_DATA_DIR": f"{directory}/data", "SALDO_DATABASE_URL": ""}
            with run_child_service(child_environment) as child:
                figures = asyncio.run(_measure(child.url, child.key, seconds, connections, users))
    if json_:
        for each in figures:
            print_json(each._asdict())
        return
    print_table(
        ("operation", "per second", "p50, ms", "p99, ms"),
        [
            (
                each.operation,
                f"{each.per_second:,.0f}",
                _format_milliseconds(each.p50_ms),
                _format_milliseconds(each.p99_ms),
            )
            for each in figures
        ],
    )


async def _measure(
    url: str, key: str | None, seconds: float, connections: int, users: int
) -> list[LoadMeasurement]:
    counter = OperationCounter()
    async with (
        AsyncClient(url, key=key) as client,
        _show_progress(counter, 3 * seconds + 2 * WARMUP_SECONDS),
    ):
        run = time.time_ns()
        ids = [(await client.create_user(f"bench {run} {n}")).id for n in range(users)]

        async def deposit(index: int) -> None:
            await client.deposit(ids[index % users], AMOUNT)

        async def read_balance(index: int) -> None:
            await client.balance(ids[index % users])

        single = await _measure_requests(
            f"single deposits, {connections} concurrent", deposit, counter, seconds, connections
        )
        stream = await _measure_stream(client, ids, counter, seconds)
        reads = await _measure_requests(
            f"balance reads, {connections} concurrent", read_balance, counter, seconds, connections
        )
        return [single, stream, reads]


@asynccontextmanager
async def _show_progress(counter: OperationCounter, seconds: float) -> AsyncIterator[None]:
    """Show the progress of the measurements while the block runs. `seconds` is their expected total duration."""
    began = time.monotonic()
    with show_progress("measuring", unit="operations") as progress:

        async def update() -> None:
            while True:
                await asyncio.sleep(PROGRESS_SECONDS)
                elapsed = round(time.monotonic() - began)
                progress.show(counter.operations, elapsed, max(elapsed, round(seconds)))

        async with run_task(update(), name="progress"):
            yield


async def _measure_requests(
    operation: str,
    send: Callable[[int], Awaitable[None]],
    counter: OperationCounter,
    seconds: float,
    connections: int,
) -> LoadMeasurement:
    begin = time.perf_counter() + WARMUP_SECONDS
    end = begin + seconds
    durations: list[float] = []

    async def work(index: int) -> None:
        while (now := time.perf_counter()) < end:
            await send(index)
            counter.operations += 1
            done = time.perf_counter()
            index += connections
            if begin <= now and done <= end:
                durations.append(done - now)

    await asyncio.gather(*(work(index) for index in range(connections)))
    durations.sort()
    return LoadMeasurement(
        operation,
        len(durations) / seconds,
        _compute_quantile_ms(durations, 0.5),
        _compute_quantile_ms(durations, 0.99),
    )


async def _measure_stream(
    client: AsyncClient, ids: list[int], counter: OperationCounter, seconds: float
) -> LoadMeasurement:
    begin = time.perf_counter()
    sent = 0
    async with client.writer() as writer:
        while time.perf_counter() < begin + seconds:
            for _ in range(100):
                await writer.deposit(ids[sent % len(ids)], AMOUNT)
                sent += 1
                counter.operations += 1
    return LoadMeasurement("deposits in a stream", sent / (time.perf_counter() - begin), None, None)


def _compute_quantile_ms(ordered: list[float], share: float) -> float | None:
    return 1000 * ordered[int(share * (len(ordered) - 1))] if ordered else None


def _format_milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
