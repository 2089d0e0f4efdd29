"""The SQL of the service, each statement a file that pastes into psql."""

from __future__ import annotations

from functools import cache
from importlib.resources import files


@cache
def statement(name: str) -> str:
    """The text of `sql/<name>.sql`."""
    return (files("saldo.store") / "sql" / f"{name}.sql").read_text("utf-8").strip()
