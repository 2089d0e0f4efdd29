"""Mutants: bugs planted on purpose, one in each file, to check that the suite catches bugs.

Each bug does real harm. If a safeguard of the service would prevent the harm, the safeguard is removed as well, and the
docstring of the mutant's file says so.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import psycopg

from torture.mutants import (
    acknowledges_before_commit,
    commits_without_flush,
    forgets_horizon_check,
    forgets_uuid_check,
    moves_cursor_early,
    reads_before_lock,
    replays_with_newest_balance,
    skips_event,
    stale_reads,
)
from torture.mutants.mutant import Mutant

__all__ = ["NAMES", "Mutant", "command", "prepare"]

NAMES: Final[Mapping[str, Mutant]] = {
    module.MUTANT.name: module.MUTANT
    for module in (
        acknowledges_before_commit,
        commits_without_flush,
        forgets_horizon_check,
        forgets_uuid_check,
        moves_cursor_early,
        reads_before_lock,
        replays_with_newest_balance,
        skips_event,
        stale_reads,
    )
}
"""The mutants by name."""


def command(name: str | None) -> list[str]:
    """Return the command that starts a service in any directory. `name` is None for the service without a bug."""
    if name is None:
        return [sys.executable, "-m", "saldo", "serve"]
    return [sys.executable, str(Path(__file__).parent), NAMES[name].name, "serve"]


def prepare(name: str | None, superuser_url: str) -> None:
    """Plant the database part of a mutant. Call it once, after the database was migrated.

    Args:
        superuser_url: URL of the ledger's database, for a superuser or for the owner of the schema.
    """
    if name is not None:
        with psycopg.connect(superuser_url) as connection:
            NAMES[name].prepare(connection)
