"""Queries of the console: each uses an index, however large the ledger is."""

from __future__ import annotations

import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.postgresql.sample_ledger import fill
from saldo.store.statements import load_statement

QUESTIONS = {
    "users/search_by_name": (
        "text, text, text, bigint, bigint[], int",
        "'a', 'b', NULL, NULL, NULL, 51",
        "users_name_prefix",
    ),
    "users/by_ids": ("bigint[], bigint, int", "'{1,2}', 0, 51", "users_pkey"),
    "charts/time_span": ("bigint, int", "1, 20000", "transactions_late"),
    "charts/number_bounds": (
        "bigint, timestamptz, timestamptz, int",
        "1, '2020-01-01', '2030-01-01', 20000",
        "transactions_late",
    ),
    "charts/balance_changes": (
        "bigint, bigint, bigint, timestamptz, timestamptz",
        "1, 0, 10, '2020-01-01', '2030-01-01'",
        "transactions_late",
    ),
    "charts/largest_recent_transactions": ("int, int", "50, 10", "transactions_pkey"),
    "console_sessions/find": (
        "bytea[], interval, interval, interval",
        "ARRAY['\\x00'::bytea], '1 hour', '1 hour', '1 minute'",
        "console_sessions_pkey",
    ),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_each_query_uses_its_index(own_ledger: Database, name: str) -> None:
    """Check the generic plan, as after a few calls, with the statistics of a small ledger."""
    fill(own_ledger)
    types, arguments, index = QUESTIONS[name]
    with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as connection:
        connection.execute("ANALYZE saldo.transactions, saldo.users")
        connection.execute("SET plan_cache_mode = force_generic_plan")
        connection.execute("SET enable_seqscan = off")  # as in each session of the service
        connection.execute(f"PREPARE asked ({types}) AS {load_statement(name)}".encode())
        rows = connection.execute(f"EXPLAIN EXECUTE asked ({arguments})".encode()).fetchall()
    plan = [row[0] for row in rows]
    assert any(index in line for line in plan), plan
    assert not any("Seq Scan" in line for line in plan), plan


def test_the_services_role_keeps_sessions_and_nobody_else_reads_them(own_ledger: Database) -> None:
    with psycopg.connect(own_ledger.service_role_url, autocommit=True) as connection:
        for done in (
            "INSERT INTO saldo.console_sessions (hash, binding, holder) VALUES "
            "(sha256('a'), sha256('b'), 'key 1')",
            "UPDATE saldo.console_sessions SET used_at = now()",
            "DELETE FROM saldo.console_sessions",
        ):
            connection.execute(done.encode())
        with pytest.raises(psycopg.errors.InsufficientPrivilege):
            connection.execute("TRUNCATE saldo.console_sessions")
