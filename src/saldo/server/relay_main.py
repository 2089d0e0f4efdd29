"""The main program of the relays. It runs in a process that the service starts, or as the command `saldo relay`.

The process that the service starts has a low priority. Publishing takes more processor time than posting, and must
never slow down posting.
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

from saldo.bootstrap.logging_setup import set_up_logging
from saldo.bootstrap.relay import run_relays
from saldo.bootstrap.tracing import open_tracing
from saldo.lifecycle.stop_signals import STOP_SIGNALS, unblock_signals
from saldo.observability.process_metrics import write_relay_pid
from saldo.settings.model import Settings

NICENESS = 10
"""Niceness of the relay process that the service starts, so that posting gets processor time first."""

_log = logging.getLogger("saldo.relay")


def relay_until_stopped(settings: Settings, database_url: str) -> None:
    """Run the relays until SIGTERM or SIGINT."""

    async def run_until_signal() -> None:
        stop_requested = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, stop_requested.set)
        async with (
            open_tracing(settings) as tracing,
            run_relays(settings, database_url, None, tracing),
        ):
            await stop_requested.wait()

    uvloop.run(run_until_signal())


def run_beside_service(
    settings: Settings, database_url: str, wakeup_path: Path, parent: Connection
) -> None:
    """Run the relays in the process that a service starts (`saldo.server.relay_process`), until the service closes the
    pipe.

    Args:
        parent: the reading end of a pipe. The service closes the other end to stop the relays; it is also closed when
            the service dies.
    """
    # Ctrl-C sends SIGINT to the whole process group. The service itself stops this process after it has finished the
    # requests in flight.
    for number in STOP_SIGNALS:
        signal.signal(number, signal.SIG_IGN)
    unblock_signals()
    with contextlib.suppress(OSError):
        os.nice(NICENESS)
    set_up_logging(settings)
    write_relay_pid(wakeup_path)
    uvloop.run(_run_until_parent_ends(settings, database_url, wakeup_path, parent))


async def _run_until_parent_ends(
    settings: Settings, database_url: str, wakeup_path: Path, parent: Connection
) -> None:
    parent_ended = asyncio.Event()
    loop = asyncio.get_running_loop()

    def handle_end() -> None:
        # A closed pipe stays readable, so the loop would call this function endlessly.
        loop.remove_reader(parent.fileno())
        parent_ended.set()

    loop.add_reader(parent.fileno(), handle_end)
    async with (
        open_tracing(settings) as tracing,
        run_relays(settings, database_url, wakeup_path, tracing),
    ):
        await parent_ended.wait()
