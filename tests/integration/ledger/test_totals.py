"""Totals of the ledger, counted along the log."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.ledger.audit.rules import Rule
from saldo.store.audit.progress import AuditProgress
from saldo.store.connections.connection import open_pool
from saldo.store.totals import LedgerTotals, Totals

PER_SHARD = 7


@pytest.fixture
async def totals(own_ledger: Database) -> AsyncIterator[Totals]:
    pool = await open_pool(own_ledger.service_role_url, connections=4, statement_timeout_seconds=10)
    yield Totals(pool)
    pool.terminate()


async def _post_some(service_role_url: str) -> LedgerTotals:
    """Post transactions of two users; return their totals."""
    settings = create_settings(service_role_url)
    posted = refused = deposited = withdrawn = 0
    async with run_service(settings, service_role_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            for user in range(2):
                created = await client.post("/v1/user", json={"name": str(user)})
                for step in range(20):
                    type_ = "WITHDRAW" if step % 4 == 3 else "DEPOSIT"
                    amount = 900 if step % 8 == 7 else 1 + step
                    body = {
                        "uuid": str(uuid4()),
                        "type": type_,
                        "amount": str(amount),
                        "user_id": created.json()["id"],
                    }
                    status = (await client.post("/v1/transaction", json=body)).status_code
                    posted += status == 200
                    refused += status == 402
                    if status == 200 and type_ == "DEPOSIT":
                        deposited += 100 * amount
                    elif status == 200:
                        withdrawn += 100 * amount
    balance = deposited - withdrawn
    return LedgerTotals(2, posted, refused, balance, deposited, withdrawn, 0.0)


async def _count_all(totals: Totals) -> list[int]:
    counts = []
    while count := (await totals.advance_totals(PER_SHARD)).entries:
        counts.append(count)
    return counts


async def test_concurrent_counters_count_every_entry_once(
    own_ledger: Database, totals: Totals
) -> None:
    expected = await _post_some(own_ledger.service_role_url)
    assert expected.refused_entries
    assert expected.withdrawal_sum
    before = await totals.read_totals()
    assert (before.posted_entries, before.users) == (0, 0)
    assert before.seconds_behind > 0
    counts = await asyncio.gather(*(_count_all(totals) for _ in range(4)))
    assert (
        sum(sum(each) for each in counts) == expected.posted_entries + expected.refused_entries + 2
    )
    assert await totals.read_totals() == expected


@pytest.mark.parametrize(
    ("change", "rule", "found", "expected"),
    [
        ({"balance": 999}, Rule.BALANCE, "999", "500"),
        ({"amount": 100, "balance": 200}, Rule.BALANCE, "200", "100"),
        ({"number": 3}, Rule.NUMBER, "3", "1"),
    ],
    ids=["a balance", "an amount", "a number"],
)
async def test_inconsistent_entry_is_recorded_as_a_fault(
    own_ledger: Database,
    totals: Totals,
    change: dict[str, Any],
    rule: Rule,
    found: str,
    expected: str,
) -> None:
    """Insert a wrong entry, and check that it is recorded as the same fault that the audit finds."""
    settings = create_settings(own_ledger.service_role_url)
    async with run_service(settings, own_ledger.service_role_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await client.post("/v1/user", json={"name": "a"})
    entry = {"seq": 2, "user_id": 1, "number": 1, "amount": 500, "balance": 500} | change
    with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as connection:
        connection.execute(
            """
            INSERT INTO saldo.transactions (
                seq, user_id, number, amount, balance, "timestamp", horizon, recorded_at, uuid, shard, kind, outcome
            )
            VALUES (
                %(seq)s, %(user_id)s, %(number)s, %(amount)s, %(balance)s,
                now(), now(), now(), gen_random_uuid(), 1, 1, 0
            )
            """,
            entry,
        )
    (fault,) = (await totals.advance_totals(PER_SHARD)).faults
    number = entry["number"]
    assert fault[:6] == (rule, 1, 2, 2, found, expected)
    assert (fault.user_id, fault.number) == (1, number)
    audits = AuditProgress(totals._pool, lease_seconds=10)
    assert (await audits.read_status()).faults == 1
    assert await audits.record_faults([fault]) == []
    assert [known.times_found for known in await audits.list_faults()] == [2]
