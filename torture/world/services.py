"""Two services on the same database, each with proxies of its own before and behind it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import psutil
from tests.acceptance.service import ServiceProcess
from tests.faults.broker import free_ports

from torture.proxy import Proxy, to_port, to_socket
from torture.world.clocks import Clock
from torture.world.postgresql import Pair

CONNECTIONS_MAX = 300
"""Of one service: few enough to be used up."""

START_SECONDS_MAX = 60
START_AGAIN_SECONDS = 0.5

BATCH_TIMEOUT_SECONDS = 5
"""What a lost connection to the database costs; 30 if it is not set."""


class Service:
    """One service: its process, which is started again by whoever killed it, and its ways in and out."""

    def __init__(
        self,
        directory: Path,
        name: str,
        pair: Pair,
        settings: dict[str, str],
        command: Sequence[str],
    ) -> None:
        """
        Args:
            settings: beside those of its address and its database.
            command: what starts its process.
        """
        self.name = name
        self._command = command
        self.clock = Clock(directory / f"{name}.clock")
        self._directory = directory
        self._settings = settings
        (self.port,) = free_ports(1)
        self.clients = Proxy(to_port(self.port))
        """Between clients and the service."""
        self.database = tuple(Proxy(to_socket(node)) for node in pair.nodes)
        """Between the service and each server."""
        self._process: ServiceProcess | None = None

    async def open(self) -> None:
        """The proxies."""
        for proxy in (self.clients, *self.database):
            await proxy.__aenter__()

    async def close(self) -> None:
        """The proxies."""
        for proxy in (self.clients, *self.database):
            if proxy.port:
                await proxy.__aexit__()
        self.clock.close()

    def start(self) -> None:
        """Starts the process, and waits until it is ready; again, if it ends, as who watches over it would."""
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            process = self._launch()
            try:
                process.wait_until_ready()
            except AssertionError:
                # It ends if it finds no database.
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
        """In order."""
        if self._process is not None:
            self.signal(signal.SIGCONT)
            try:
                self._process.end()
            except Exception:
                self.kill()
                raise

    def kill(self) -> None:
        """The service alone: its relay's process notices."""
        if self._process is not None:
            self._process.end(signal.SIGKILL)

    def signal(self, number: int) -> None:
        """To all its processes."""
        for pid in self.processes:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    @property
    def processes(self) -> list[int]:
        """All of the service, its own first."""
        assert self._process is not None
        pid = self._process.process.pid
        with suppress(psutil.NoSuchProcess):
            return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
        return []

    @property
    def relay(self) -> int | None:
        """The relay's process beside it."""
        for pid in self.processes[1:]:
            with suppress(psutil.NoSuchProcess):
                if "spawn_main" in " ".join(psutil.Process(pid).cmdline()):
                    return pid
        return None

    @property
    def url(self) -> str:
        """Past the proxy."""
        return f"http://127.0.0.1:{self.port}"

    def _database_url(self, role: str) -> str:
        hosts = ",".join("127.0.0.1" for _ in self.database)
        ports = ",".join(str(proxy.port) for proxy in self.database)
        return (
            f"postgresql://{role}@/saldo?host={hosts}&port={ports}&target_session_attrs=read-write"
        )
