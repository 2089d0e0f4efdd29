"""Functions for migration steps, which run whole SQL files."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from alembic import op


def run(*names: str) -> None:
    """Run `sql/<name>.sql` for each name, in order."""
    for name in names:
        text = (files("saldo.store.schema.migrations") / "sql" / f"{name}.sql").read_text("utf-8")
        # The driver executes the text directly, because Alembic would interpret its colons and percent signs.
        _driver().execute(text)


def run_distributed(*names: str) -> None:
    """Run `saldo/store/citus/sql/<name>.sql` for each name, in order."""
    for name in names:
        text = (files("saldo.store.citus") / "sql" / f"{name}.sql").read_text("utf-8")
        _driver().execute(text)


def is_distributed() -> bool:
    """Return whether the ledger is distributed over the workers of a Citus cluster."""
    row = _driver().execute("SELECT to_regproc('saldo.post_on_shard_1') IS NOT NULL").fetchone()
    return bool(row[0])


def is_without_users() -> bool:
    """Return whether the ledger has no user yet."""
    return _driver().execute("SELECT FROM saldo.users LIMIT 1").fetchone() is None


def _driver() -> Any:
    return op.get_bind().connection.driver_connection
