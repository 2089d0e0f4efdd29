"""Two services on the same database, each with its own proxies to clients and to the database."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil

from harness.ports import find_free_ports
from harness.program.service import ServiceProcess
from torture.proxy import Proxy, to_port, to_socket
from torture.world.clocks import Clock
from torture.world.postgresql import ServerPair

CONNECTIONS_MAX = 300
"""Value of SALDO_CONNECTIONS_MAX for each service, so low that the clients of a run can reach the limit."""

START_SECONDS_MAX = 60
START_AGAIN_SECONDS = 0.5

BATCH_TIMEOUT_SECONDS = 5
"""The service's batch timeout, in seconds. A batch waits this long if its connection to the database loses data. The
default is 30."""


class Service:
    """One service: its process and its proxies. A fault that kills the process also restarts it."""

    def __init__(
        self,
        directory: Path,
        name: str,
        pair: ServerPair,
        settings: dict[str, str],
        command: Sequence[str],
    ) -> None:
        """Create a service; nothing is started yet.

        Args:
            settings: settings of the service in addition to its address and its database.
            command: the command that starts its process.
        """
        self.name = name
        self._command = command
        self.clock = Clock(directory / f"{name}.clock")
        self._directory = directory
        self._settings = settings
        (self.port,) = find_free_ports(1)
        self.clients = Proxy(to_port(self.port))
        """Proxy between clients and the service."""
        self.database = tuple(Proxy(to_socket(node)) for node in pair.nodes)
        """Proxies between the service and each server."""
        self._process: ServiceProcess | None = None

    async def open(self) -> None:
        """Open the proxies."""
        for proxy in (self.clients, *self.database):
            await proxy.__aenter__()

    async def close(self) -> None:
        """Close the proxies."""
        for proxy in (self.clients, *self.database):
            if proxy.port:
                await proxy.__aexit__()
        self.clock.close()

    def start(self) -> None:
        """Start the process and wait until it is ready. If it ends before, start it again, as a supervisor would."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            process = self._launch()
            try:
                process.wait_until_ready()
            except AssertionError:
                # The service exits if it finds no database.
                if process.process.poll() is None or time.monotonic() > deadline:
                    raise
                time.sleep(START_AGAIN_SECONDS)
            else:
                return

    def _launch(self) -> ServiceProcess:
        temporary = self._directory / "tmp"
        temporary.mkdir(exist_ok=True)
        self._process = ServiceProcess(
            self._directory,
            True,
            self._command,
            **{
                "SALDO_PORT": str(self.port),
                "SALDO_DATABASE_URL": self._database_url("saldo"),
                "SALDO_DATABASE_OWNER_URL": self._database_url("saldo_owner"),
                "SALDO_CONNECTIONS_MAX": str(CONNECTIONS_MAX),
                "SALDO_BATCH_TIMEOUT_SECONDS": str(BATCH_TIMEOUT_SECONDS),
                "SALDO_LOG_FORMAT": "json",
                "TMPDIR": str(temporary),
            }
            | self._settings
            | self.clock.open(),
        )
        return self._process

    def stop(self) -> None:
        """Stop the service in order. If that fails, kill it and raise the error."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            try:
                self._process.end()
            except Exception:
                self.kill()
                raise

    def kill(self) -> None:
        """Kill the service's main process. The relay's process detects this, and ends by itself."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the service."""
        for pid in self.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def processes(self) -> list[int]:
        """The process ids of the service: the main process first, then its descendants."""
        assert self._process is not None
        pid = self._process.process.pid
        with suppress(psutil.NoSuchProcess):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return []

    @property
    def relay(self) -> int | None:
        """The process id of the service's relay; None if it doesn't run."""
        for pid in self.processes[1:]:
            with suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(psutil.Process(pid).cmdline()):
                    return pid
        return None

    @property
    def url(self) -> str:
        """The service's own URL, which bypasses the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def _database_url(self, role: str) -> str:
        hosts = ",".join("127.0.0.1" for _ in self.database)
        ports = ",".join(str(proxy.port) for proxy in self.database)
        return (
            f"postgresql://{role}@/saldo?host={hosts}&port={ports}&target_session_attrs=read-write"
        )
