"""The number of connections to the database that a process may open, compared with the documentation."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from harness.program.settings import create_settings
from saldo.bootstrap.pools import count_relay_connections, count_service_connections
from saldo.bootstrap.relay import run_relays
from saldo.bootstrap.service import run_service


@pytest.fixture
def pools(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Return the maximum sizes of all pools that are opened during the test."""
    sizes: list[int] = []
    create_pool = asyncpg.create_pool

    def create(*arguments: Any, **options: Any) -> Any:
        sizes.append(options["max_size"])
        return create_pool(*arguments, **options)

    monkeypatch.setattr(asyncpg, "create_pool", create)
    return sizes


@pytest.mark.parametrize("given", [{"lanes": 2}, {"lanes": 3, "read_connections": 7}, {}])
async def test_service_opens_the_computed_number_of_connections(
    database_url: str, pools: list[int], given: dict[str, int]
) -> None:
    settings = create_settings(database_url, **given)
    async with run_service(settings, database_url) as front:
        lanes = len(front.service.engine._lanes)
    assert sum(pools) + lanes == count_service_connections(settings)


async def test_relay_opens_the_computed_number_of_connections(
    database_url: str, pools: list[int]
) -> None:
    async with run_relays(create_settings(database_url), database_url, None):
        pass
    assert sum(pools) == count_relay_connections()
