"""Runs the relays: in a process of their own beside the service, or alone as `saldo relay`.

A process of its own, and one that steps back: publishing takes more processor time than posting, and must never
slow it down.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import multiprocessing
import os
import random
import signal
import tempfile
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

import uvloop

from saldo.bootstrap.relays import relays_at_work
from saldo.bootstrap.tracing import tracing_to
from saldo.server import set_up_logging
from saldo.settings import Settings

NICENESS = 10
"""The relay gets what posting leaves of the processors."""

RESTART_SECONDS = (0.5, 1.0)
"""Between the end of a relay's process that should not have ended and the next one."""

JOIN_SECONDS = 0.2
"""How soon an end is noticed, of the relay's process or of the service."""

END_SECONDS = 5.0
"""Beyond the time that the relay has to publish what is there: for its connections."""

_log = logging.getLogger("saldo.relay")


class RelayProcess:
    """The process of the relays beside a service: started again if it dies. A context manager.

    Does nothing when the settings say that another one relays.
    """

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._context = multiprocessing.get_context("spawn")
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._alive: Connection | None = None

    @property
    def bell_path(self) -> Path | None:
        """Where service processes ring; None: nobody listens."""
        return None if self._directory is None else Path(self._directory.name) / "bell"

    def __enter__(self) -> RelayProcess:
        if self._settings.relay:
            self._directory = tempfile.TemporaryDirectory(prefix="saldo-relay-")
            self._thread = threading.Thread(target=self._supervise, name="relay", daemon=True)
            self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._stopping.set()
        if self._thread is not None:
            self._thread.join()
        if self._directory is not None:
            self._directory.cleanup()

    def _supervise(self) -> None:
        while not self._stopping.is_set():
            # The child sees the end of this pipe when we end, however we end.
            theirs, self._alive = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_run_beside,
                args=(self._settings, self._database_url, self.bell_path, theirs),
                name="saldo relay",
            )
            process.start()
            theirs.close()
            while process.is_alive() and not self._stopping.is_set():
                process.join(JOIN_SECONDS)
            if self._stopping.is_set():
                self._end(process)
            else:
                _log.error("the relay's process ended with %s; starting it again", process.exitcode)
                self._stopping.wait(random.uniform(*RESTART_SECONDS))  # noqa: S311
            self._alive.close()

    def _end(self, process: SpawnProcess) -> None:
        """Lets it publish what is there; by the kernel if it doesn't end then."""
        assert self._alive is not None
        self._alive.close()
        process.join(self._settings.stop_seconds + END_SECONDS)
        if process.is_alive():
            _log.error("the relay's process does not end; killing it")
            process.kill()
            process.join()


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


def _run_beside(settings: Settings, database_url: str, bell_path: Path, parent: Connection) -> None:
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
