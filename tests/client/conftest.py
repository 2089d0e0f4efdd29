"""Fixtures: a service that several tests share, and one that may be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness.ports import find_free_ports
from harness.postgresql import data_directories
from harness.program.service import ServiceProcess, run_service_process


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Yield a service as users run it, whose ledger is shared by all tests.

    Its filtered pages read few entries, so they are often empty: the client must not take an empty page for the end.
    """
    directory = tmp_path_factory.mktemp("service")
    with run_service_process(directory, SALDO_PAGE_SCAN_ENTRIES_MAX="10") as running:
        yield running


class KillableService:
    """A service at one address that can be killed and restarted."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (self._port,) = find_free_ports(1)
        data_directories.create_for_service(directory, {})
        self.url = f"http://localhost:{self._port}"
        self._process = self._start()

    def kill_and_restart(self) -> None:
        """Kill the service as a power cut would, except its database server, which the new process stops."""
        os.kill(self._process.process.pid, signal.SIGKILL)
        self._process.process.wait()
        self._process = self._start()

    def end(self) -> None:
        self._process.end()

    def _start(self) -> ServiceProcess:
        process = ServiceProcess(self._directory, SALDO_PORT=str(self._port))
        try:
            process.wait_until_ready()
        except BaseException:
            process.end()
            raise
        return process


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[KillableService]:
    """Yield a service that a test may kill."""
    running = KillableService(tmp_path)
    yield running
    running.end()
