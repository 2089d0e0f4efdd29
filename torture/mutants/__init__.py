"""Bugs planted on purpose: a suite that doesn't catch them catches nothing. One file a bug.

A bug is real: it does harm. Where a fence of ours would catch it, that is taken down with it, and its file says so.
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
"""The bugs by name."""


def command(name: str | None) -> list[str]:
    """What starts a service, in any directory. None: the real one."""
    if name is None:
        return [sys.executable, "-m", "saldo", "serve"]
    return [sys.executable, str(Path(__file__).parent), NAMES[name].name, "serve"]


def prepare(name: str | None, superuser_url: str) -> None:
    """Plants what there is to plant in the database. Once, after it was migrated.

    Args:
        superuser_url: of the ledger's database; the role that owns its schema will do.
    """
    if name is not None:
        with psycopg.connect(superuser_url) as connection:
            NAMES[name].prepare(connection)
