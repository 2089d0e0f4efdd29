"""How a bug gets into the database: the text of a function changed, a fence taken down."""

from __future__ import annotations

from typing import Any, TypeAlias

import psycopg
from psycopg import sql

Connection: TypeAlias = psycopg.Connection[Any]

POST = "saldo.post_2"
"""The function that decides and records a batch; the service calls it in `store/sql/post.sql`."""


def change_function(connection: Connection, name: str, *changes: tuple[str, str]) -> None:
    """Replaces parts of a function's text. Its owner and its grants stay.

    Args:
        changes: each an old part, which is in the text exactly once, and the new one.

    Raises:
        LookupError: an old part is not there any more, and the bug would not be planted.
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


def take_down(connection: Connection, constraint: str, *columns: str) -> None:
    """Makes a unique constraint of the log a plain index: as fast to read, and no fence."""
    connection.execute(
        sql.SQL(
            "ALTER TABLE saldo.transactions DROP CONSTRAINT {constraint};"
            "CREATE INDEX {constraint} ON saldo.transactions ({columns})"
        ).format(
            constraint=sql.Identifier(constraint),
            columns=sql.SQL(", ").join(map(sql.Identifier, columns)),
        )
    )
