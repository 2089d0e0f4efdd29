"""What a migration step is made of: whole SQL files."""

from __future__ import annotations

from importlib.resources import files
from typing import Any

from alembic import op


def run(*names: str) -> None:
    """Runs `sql/<name>.sql` for each name, in order."""
    for name in names:
        text = (files("saldo.store.migrations") / "sql" / f"{name}.sql").read_text("utf-8")
        # The driver itself: the text is PostgreSQL's alone, its colons and percent signs too.
        driver: Any = op.get_bind().connection.driver_connection
        driver.execute(text)
