"""The process of the relays beside a service: started, watched, started again, ended.

What runs in it is `saldo.relaying`, which the service itself needs nothing of and doesn't load.
"""

from __future__ import annotations

import logging
import multiprocessing
import random
import tempfile
import threading
from multiprocessing.connection import Connection
from multiprocessing.context import SpawnProcess
from pathlib import Path
from types import TracebackType

from saldo.settings import Settings

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
                target=_run,
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


def _run(settings: Settings, database_url: str, bell_path: Path, parent: Connection) -> None:
    from saldo.relaying import run_beside  # noqa: PLC0415 - in the new process only

    run_beside(settings, database_url, bell_path, parent)
