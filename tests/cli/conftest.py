"""A service that the commands talk to."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.acceptance.service import ServiceProcess, service
from tests.cli.program import Program


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """A service as users run it; the ledger is the module's."""
    with service(tmp_path_factory.mktemp("service")) as running:
        yield running


@pytest.fixture
def saldo(shared_service: ServiceProcess) -> Program:
    """The program, which knows that service by SALDO_URL."""
    return Program(SALDO_URL=shared_service.url)
