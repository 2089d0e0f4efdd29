"""A Citus cluster; SALDO_TEST_CITUS_URL names a superuser's database on its coordinator."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.prerequisites import skip_or_fail


@pytest.fixture(scope="session")
def citus_url() -> str:
    url = os.environ.get("SALDO_TEST_CITUS_URL")
    if not url:
        skip_or_fail(
            "citus", "no Citus cluster (SALDO_TEST_CITUS_URL; see docs/howto/scale-out.md)"
        )
    try:
        found = databases.has_citus(url)
    except psycopg.Error as error:
        skip_or_fail("citus", f"no PostgreSQL at SALDO_TEST_CITUS_URL: {error}")
    assert found, "SALDO_TEST_CITUS_URL names a database without Citus"
    return url


@pytest.fixture
def cluster(citus_url: str) -> Iterator[Database]:
    """Yield a distributed ledger of the test's own."""
    with databases.create_ledger(citus_url) as database:
        yield database
