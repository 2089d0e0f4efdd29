"""A Citus cluster: SALDO_TEST_CITUS_URL names a superuser's database on its coordinator."""

from __future__ import annotations

import os
from collections.abc import Iterator

import psycopg
import pytest

from tests import databases
from tests.conftest import missing
from tests.databases import Database


@pytest.fixture(scope="session")
def citus_url() -> str:
    url = os.environ.get("SALDO_TEST_CITUS_URL")
    if not url:
        missing("citus", "no Citus cluster (SALDO_TEST_CITUS_URL; see docs/howto/scale-out.md)")
    try:
        found = databases.has_citus(url)
    except psycopg.Error as error:
        missing("citus", f"no PostgreSQL at SALDO_TEST_CITUS_URL: {error}")
    assert found, "SALDO_TEST_CITUS_URL names a database without Citus"
    return url


@pytest.fixture
def cluster(citus_url: str) -> Iterator[Database]:
    """A ledger of the test's own, distributed."""
    with databases.ledger_on(citus_url) as database:
        yield database
