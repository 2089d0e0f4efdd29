"""A ledger with some entries and seals, and functions that alter it without Saldo."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import psycopg

from harness.postgresql.databases import Database
from saldo.ledger.model import Entry, Kind, Outcome, TransactionRequest
from saldo.ledger.seals import (
    FIRST_PREVIOUS,
    compute_merkle_root,
    encode_entry,
    hash_leaf,
    hash_seal,
)

DAY = timedelta(days=1)
BEGIN = datetime(2024, 1, 1, tzinfo=UTC)

SEALED = 8
"""Number of entries per seal."""

ENTRIES = """
    SELECT shard, seq, user_id, number, uuid, kind, outcome, amount, balance,
        nullif("timestamp", '-infinity'), nullif(horizon, '-infinity'), recorded_at
    FROM saldo.transactions WHERE shard = %s ORDER BY seq
"""


def superuser_url(database: Database) -> str:
    return database.owner_role_url.replace("//saldo_owner@", "//postgres@")


def create_user(connection: psycopg.Connection) -> int:
    row = connection.execute("SELECT id FROM saldo.create_user_1(%s)", (str(uuid4()),)).fetchone()
    assert row is not None
    return int(row[0])


def create_users(url: str, count: int) -> list[int]:
    """Create users and return their ids."""
    with psycopg.connect(url, autocommit=True) as connection:
        rows = [
            connection.execute("SELECT id FROM saldo.create_user_1(%s)", (str(uuid4()),)).fetchone()
            for _ in range(count)
        ]
    return [row[0] for row in rows if row is not None]


def build_deposit(
    user_id: int, uuid: UUID | None = None, moment: datetime | None = None
) -> TransactionRequest:
    """Return a request to deposit 1.00."""
    return TransactionRequest(uuid or uuid4(), user_id, 100, moment)


def post(
    connection: psycopg.Connection, user_id: int, *amounts: int, at: datetime | None = None
) -> list[Outcome]:
    """Post one transaction per amount, in the given order, in a single batch. Return their outcomes."""
    row = connection.execute(
        "SELECT outcomes FROM saldo.post_2(%s::uuid[], %s::bigint[], %s::bigint[], %s::timestamptz[],"
        " 1000000, '5 minutes', 100, false)",
        ([uuid4() for _ in amounts], [user_id] * len(amounts), [*amounts], [at] * len(amounts)),
    ).fetchone()
    assert row is not None
    return [*map(Outcome, row[0])]


def fill(database: Database) -> None:
    """Create three users in three shards, each with 21 entries, late and refused ones among them."""
    with psycopg.connect(database.service_role_url, autocommit=True) as connection:
        for user_id in [create_user(connection) for _ in range(3)]:
            for day in range(5):
                post(connection, user_id, 100, -30, at=BEGIN + day * DAY)
            post(connection, user_id, -1000, 50)
            post(connection, user_id, 7, -20, at=BEGIN + 2 * DAY)
            post(connection, user_id, -10, -5, 3, -5000, 5, 5)


def read_entries(connection: psycopg.Connection, shard: int) -> list[Entry]:
    rows: list[Any] = connection.execute(ENTRIES, (shard,)).fetchall()
    return [
        Entry(shard, seq, user_id, number, uuid, Kind(kind), Outcome(outcome), *rest)
        for shard, seq, user_id, number, uuid, kind, outcome, *rest in rows
    ]


def seal(database: Database, *, leave: int = 0, size: int = SEALED) -> None:
    """Seal all entries that are not sealed yet, except the last `leave` entries of each shard."""
    with psycopg.connect(database.service_role_url, autocommit=True) as connection:
        for (shard,) in connection.execute(
            "SELECT DISTINCT shard FROM saldo.transactions"
        ).fetchall():
            last = connection.execute(
                "SELECT last_seq, hash FROM saldo.seals WHERE shard = %s ORDER BY first_seq DESC LIMIT 1",
                (shard,),
            ).fetchone()
            sealed, previous = last or (0, FIRST_PREVIOUS)
            entries = read_entries(connection, shard)
            for begin in range(sealed, len(entries) - leave, size):
                part = entries[begin : min(begin + size, len(entries) - leave)]
                root = compute_merkle_root([hash_leaf(encode_entry(entry)) for entry in part])
                first, end = part[0].seq, part[-1].seq
                previous = hash_seal(previous, shard, first, end, root)
                connection.execute(
                    "INSERT INTO saldo.seals (shard, first_seq, last_seq, root, hash) VALUES (%s, %s, %s, %s, %s)",
                    (shard, first, end, root, previous),
                )


@contextmanager
def disable_triggers(database: Database) -> Iterator[psycopg.Connection]:
    """Yield a superuser's connection with the triggers disabled."""
    with psycopg.connect(superuser_url(database), autocommit=True) as connection:
        for table in ("transactions", "seals"):
            connection.execute(f"ALTER TABLE saldo.{table} DISABLE TRIGGER USER".encode())
        yield connection
        for table in ("transactions", "seals"):
            connection.execute(f"ALTER TABLE saldo.{table} ENABLE TRIGGER USER".encode())


def insert(connection: psycopg.Connection, shard: int, like: int, **changes: object) -> UUID:
    """Append an entry to a shard, as a copy of another one with these changes, and return its uuid."""
    uuid = uuid4()
    columns = (
        "user_id, number, amount, balance, timestamp, horizon, recorded_at, shard, kind, outcome"
    )
    given = {name: f"%({name})s" for name in changes}
    copied = {"recorded_at": "clock_timestamp()"}
    values = ", ".join((copied | given).get(name, f'"{name}"') for name in columns.split(", "))
    quoted = columns.replace("timestamp", '"timestamp"')
    connection.execute(
        f"""
        INSERT INTO saldo.transactions (seq, uuid, {quoted})
        SELECT (SELECT max(seq) + 1 FROM saldo.transactions WHERE shard = %(of)s), %(uuid)s, {values}
        FROM saldo.transactions WHERE shard = %(of)s AND seq = %(like)s
        """.encode(),
        {"of": shard, "like": like, "uuid": uuid, **changes},
    )
    return uuid
