"""Runs the relays: in a process of their own beside the service, or alone as `saldo relay`.

A process of its own, and one that steps back: publishing takes more processor time than posting, and must never
slow it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import signal
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from saldo.bootstrap.logs import set_up_logging
from saldo.bootstrap.relays import relays_at_work
from saldo.bootstrap.tracing import tracing_to
from saldo.settings import Settings

NICENESS = 10
"""The relay gets what posting leaves of the processors."""

_log = logging.getLogger("saldo.relay")


def relay_until_stopped(settings: Settings, database_url: str) -> None:
    """Relays until SIGTERM or SIGINT."""

    async def work() -> None:
        stopped = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stopped.set)
        async with (
            tracing_to(settings) as tracing,
            relays_at_work(settings, database_url, None, tracing),
        ):
            await stopped.wait()

    uvloop.run(work())


def run_beside(settings: Settings, database_url: str, bell_path: Path, parent: Connection) -> None:
    """What the process beside a service does (`saldo.beside`).

    Args:
        parent: a pipe whose end says that the service has ended.
    """
    # Ctrl-C reaches the whole group; the service tells us when it has finished.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    set_up_logging(settings)
    uvloop.run(_work_beside(settings, database_url, bell_path, parent))


async def _work_beside(
    settings: Settings, database_url: str, bell_path: Path, parent: Connection
) -> None:
    ended = asyncio.Event()
    asyncio.get_running_loop().add_reader(parent.fileno(), ended.set)
    async with (
        tracing_to(settings) as tracing,
        relays_at_work(settings, database_url, bell_path, tracing),
    ):
        await ended.wait()
