"""`saldo bench` measures a service on this machine. Results that are to be compared come from `make bench`."""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Awaitable, Callable
from typing import Annotated, NamedTuple

import typer

from saldo.cli.connection.child_service import child_service
from saldo.cli.connection.service import Key, KeyFile, ServiceOptions, Url, connect
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import print_json, print_note, print_table
from saldo.client.asynchronous.client import AsyncClient

WARMUP_SECONDS = 1.0
"""Duration of the warm-up before each measurement of single requests, in seconds, for connections and caches."""


AMOUNT = 1
"""Amount of each deposit. A whole number is valid in any currency."""


class Measurement(NamedTuple):
    """A result. The milliseconds are those of single requests; None if there were none."""

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
    """Measure deposits, a stream of them, and questions for a balance.

    Against a service of its own with an empty ledger in a temporary directory, which is removed. The client takes part
    of the machine, too: these are figures of both.
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
            print_note("saldo: starting a service with an empty ledger")
            apart = {"SALDO_DATA_DIR": f"{directory}/data", "SALDO_DATABASE_URL": ""}
            with child_service(apart) as child:
                figures = asyncio.run(_measure(child.url, child.key, seconds, connections, users))
    if json_:
        for each in figures:
            print_json(each._asdict())
        return
    print_table(
        ("measured", "per second", "p50, ms", "p99, ms"),
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
    async with AsyncClient(url, key=key) as client:
        run = time.time_ns()
        ids = [(await client.create_user(f"bench {run} {n}")).id for n in range(users)]

        async def deposit(turn: int) -> None:
            await client.deposit(ids[turn % users], AMOUNT)

        async def ask(turn: int) -> None:
            await client.balance(ids[turn % users])

        single = await _measure_requests(
            f"deposits, {connections} at a time", deposit, seconds, connections
        )
        stream = await _measure_stream(client, ids, seconds)
        asked = await _measure_requests(
            f"balances, {connections} at a time", ask, seconds, connections
        )
        return [single, stream, asked]


async def _measure_requests(
    what: str, act: Callable[[int], Awaitable[None]], seconds: float, connections: int
) -> Measurement:
    begin = time.perf_counter() + WARMUP_SECONDS
    end = begin + seconds
    taken: list[float] = []

    async def work(turn: int) -> None:
        while (now := time.perf_counter()) < end:
            await act(turn)
            done = time.perf_counter()
            turn += connections
            if begin <= now and done <= end:
                taken.append(done - now)

    await asyncio.gather(*(work(turn) for turn in range(connections)))
    taken.sort()
    return Measurement(what, len(taken) / seconds, _quantile(taken, 0.5), _quantile(taken, 0.99))


async def _measure_stream(client: AsyncClient, ids: list[int], seconds: float) -> Measurement:
    begin = time.perf_counter()
    sent = 0
    async with client.writer() as writer:
        while time.perf_counter() < begin + seconds:
            for _ in range(100):
                await writer.deposit(ids[sent % len(ids)], AMOUNT)
                sent += 1
    return Measurement(
        "deposits, many in a request", sent / (time.perf_counter() - begin), None, None
    )


def _quantile(ordered: list[float], part: float) -> float | None:
    return 1000 * ordered[int(part * (len(ordered) - 1))] if ordered else None


def _milliseconds(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
