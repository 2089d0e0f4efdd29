"""The supervisor of the relays' process beside a service: it starts, watches, restarts and ends that process.

The process runs `saldo.server.relay_main`, which the service itself does not need and does not import.
"""

from __future__ import annotations

import logging
import multiprocessing
import os
import random
import tempfile
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

from saldo.lifecycle.stop_signals import block_signals
from saldo.settings.model import Settings

RESTART_SECONDS = (0.5, 1.0)
"""Bounds of the random delay before a relay process that ended unexpectedly is restarted."""

JOIN_SECONDS = 0.2
"""Polling interval of the end of the relay's process, or of the service."""

END_SECONDS = 5.0
"""Additional time for closing connections, after the time in which the relays publish the remaining events."""

_log = logging.getLogger("saldo.relay")


class RelayProcess:
    """The process of the relays beside a service, which is restarted if it dies. It is a context manager.

    It does nothing if the settings say that the relays run elsewhere.
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
    def wakeup_path(self) -> Path | None:
        """The path of the wakeup socket; None if the relays run elsewhere."""
        return None if self._directory is None else Path(self._directory.name) / "bell"

    def __enter__(self) -> RelayProcess:
        if self._settings.relay_enabled:
            self._directory = tempfile.TemporaryDirectory(prefix="saldo-relay-")
            self._thread = threading.Thread(
                target=self._supervise, name="relay supervisor", daemon=True
            )
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
            # The child detects the end of this pipe when this process ends, however it ends.
            theirs, self._alive = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_run,
                args=(self._settings, self._database_url, self.wakeup_path, theirs),
                name="saldo relay",
            )
            with block_signals():
                process.start()
            theirs.close()
            while process.is_alive() and not self._stopping.is_set():
                process.join(JOIN_SECONDS)
            if self._stopping.is_set():
                self._end(process)
            else:
                _log.error(
                    "the relay process ended with exit code %s; restarting it", process.exitcode
                )
                self._stopping.wait(random.uniform(*RESTART_SECONDS))  # noqa: S311
            self._alive.close()

    def _end(self, process: SpawnProcess) -> None:
        """Let the process publish the remaining events, and kill it if it does not end in time."""
        assert self._alive is not None
        self._alive.close()
        process.join(self._settings.shutdown_timeout_seconds + END_SECONDS)
        if process.is_alive():
            _log.error("the relay process does not stop; killing it")
            process.kill()
            process.join()


def _run(settings: Settings, database_url: str, bell_path: Path, parent: Connection) -> None:
    # The metrics directory belongs to the service's workers. Whether this process inherits it depends on which of the
    # two starts first, and prometheus-client reads the variable when it is imported.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from saldo.server.relay_main import run_beside  # noqa: PLC0415 - in the new process only

    run_beside(settings, database_url, bell_path, parent)
