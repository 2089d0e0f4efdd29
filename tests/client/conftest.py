"""A service that several tests ask, and one that may be killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.acceptance.service import ServiceProcess, service
from tests.faults.broker import free_ports


@pytest.fixture(scope="package")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service as users run it; its ledger is everybody's."""
    with service(tmp_path_factory.mktemp("service")) as running:
        yield running


class Mortal:
    """A service at one address, through all its lives."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        (self._port,) = free_ports(1)
        self.url = f"http://localhost:{self._port}"
        self._process = self._start()

    def kill_and_restart(self) -> None:
        """As a power cut would, but for the database: that is stopped by the next life."""
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
def mortal(tmp_path: Path) -> Iterator[Mortal]:
    """A service to be killed."""
    running = Mortal(tmp_path)
    yield running
    running.end()
