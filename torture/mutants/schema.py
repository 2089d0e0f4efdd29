"""Functions that plant a bug in the database: they change the text of an SQL function, or remove a constraint."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg
from psycopg import sql

Connection: TypeAlias = psycopg.Connection[Any]

POST = "saldo.post_3"
"""The function that decides and records a batch; the service calls it in
`store/sql/transactions/call_post_function.sql`."""


def change_function(connection: Connection, name: str, *changes: tuple[str, str]) -> None:
    """Replace parts of a function's text. Its owner and its grants stay.

    Args:
        changes: pairs of an old part, which must be in the text exactly once, and the new part.

    Raises:
        LookupError: an old part is not in the text exactly once, so the bug would not be planted.
    """
    row = connection.execute(
        "SELECT pg_get_functiondef(%s::regproc)::text AS definition", (name,)
    ).fetchone()
    assert row is not None
    text: str = row[0]
    for old, new in changes:
        if text.count(old) != 1:
            raise LookupError(f"{name} has {text.count(old)} times: {old}")
        text = text.replace(old, new)
    connection.execute(text.encode())


def drop_unique_constraint(connection: Connection, constraint: str, *columns: str) -> None:
    """Replace a unique constraint of the log by a plain index, which is as fast to read but enforces nothing."""
    connection.execute(
        sql.SQL(
            "ALTER TABLE saldo.transactions DROP CONSTRAINT {constraint};"
            "CREATE INDEX {constraint} ON saldo.transactions ({columns})"
        ).format(
            constraint=sql.Identifier(constraint),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
    )
