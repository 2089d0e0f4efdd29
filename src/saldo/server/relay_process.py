"""The supervisor of a service's relay process: it starts, monitors, restarts and ends that process.

The relay process runs `saldo.server.relay_main`. The service process does not import that module.
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
"""Interval, in seconds, at which the supervisor checks whether the relay process has ended and whether the service is
stopping."""

END_SECONDS = 8.0
"""Seconds, after the shutdown timeout, in which the relay process must publish a last signed head and close its
connections. Then it is killed."""

_log = logging.getLogger("saldo.relay")


class RelayProcess:
    """A context manager that runs the relays of a service in a separate process. The process is restarted if it dies.

    The context manager does nothing if `SALDO_RELAY_ENABLED` is false, because the relays then run elsewhere.
    """

    def __init__(self, settings: Settings, database_url: str) -> None:
        self._settings = settings
        self._database_url = database_url
        self._context = multiprocessing.get_context("spawn")
        self._stop_requested = threading.Event()
        self._thread: threading.Thread | None = None
        self._directory: tempfile.TemporaryDirectory[str] | None = None
        self._alive_pipe: Connection | None = None

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
        self._stop_requested.set()
        if self._thread is not None:
            self._thread.join()
        if self._directory is not None:
            self._directory.cleanup()

    def _supervise(self) -> None:
        while not self._stop_requested.is_set():
            # The pipe is closed when the service process ends in any way, and the relay process detects that.
            child_pipe, self._alive_pipe = self._context.Pipe(duplex=False)
            process = self._context.Process(
                target=_run_process,
                args=(self._settings, self._database_url, self.wakeup_path, child_pipe),
                name="saldo relay",
            )
            with block_signals():
                process.start()
            child_pipe.close()
            while process.is_alive() and not self._stop_requested.is_set():
                process.join(JOIN_SECONDS)
            if self._stop_requested.is_set():
                self._end_process(process)
            else:
                _log.error(
                    "the relay process ended with exit code %s; restarting it", process.exitcode
                )
                self._stop_requested.wait(random.uniform(*RESTART_SECONDS))  # noqa: S311
            self._alive_pipe.close()

    def _end_process(self, process: SpawnProcess) -> None:
        """Let the relay process publish the remaining events, and kill the process if it does not end in time."""
        assert self._alive_pipe is not None
        self._alive_pipe.close()
        process.join(self._settings.shutdown_timeout_seconds + END_SECONDS)
        if process.is_alive():
            _log.error("the relay process does not stop; killing it")
            process.kill()
            process.join()


def _run_process(
    settings: Settings, database_url: str, wakeup_path: Path, parent: Connection
) -> None:
    # The metrics directory belongs to the service's workers. Whether this process inherits it depends on which of the
    # two starts first, and prometheus-client reads the variable when it is imported.
    os.environ.pop("PROMETHEUS_MULTIPROC_DIR", None)
    from saldo.server.relay_main import run_beside_service  # noqa: PLC0415 - in the new process only

    run_beside_service(settings, database_url, wakeup_path, parent)
