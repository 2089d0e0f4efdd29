"""Fixtures: a service that the commands connect to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness.program.command import Program
from harness.program.service import ServiceProcess, run_service_process
from saldo.cli.times import load_time_zone


@pytest.fixture(autouse=True)
def _no_known_zone() -> None:
    """Clear the cached time zone: each test reads SALDO_TIMEZONE itself, while a command reads it once."""
    load_time_zone.cache_clear()


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Yield a service as users run it, whose ledger is shared by a module's tests.

    Its filtered pages read few entries, so they are often empty: no command may take an empty page for the end.
    """
    directory = tmp_path_factory.mktemp("service")
    with run_service_process(directory, SALDO_PAGE_SCAN_ENTRIES_MAX="10") as running:
        yield running


@pytest.fixture
def saldo(shared_service: ServiceProcess) -> Program:
    """Return the program, with SALDO_URL set to that service."""
    return Program(SALDO_URL=shared_service.url)
