"""From one version of PostgreSQL to the next: the ledger is written out of the old database and into a new one.

The old one is only read. The new one gets its name when it is whole and has been checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from saldo.store.audit import Audit, audit
from saldo.store.embedded.account import Account
from saldo.store.embedded.backup import discard, one_line, remove
from saldo.store.embedded.cluster import (
    UNFINISHED,
    check_cluster,
    cluster_in,
    other_versions,
    sync_directory,
)
from saldo.store.embedded.programs import MAJOR_VERSION, Programs, binaries_of, version_of
from saldo.store.embedded.server import EmbeddedServer, Older
from saldo.store.errors import SetUpError
from saldo.store.statements import statement

KEPT = "before-upgrade"
"""Ends the name of the old database: no version of Saldo takes it for its own then."""


@dataclass(frozen=True, slots=True)
class Upgraded:
    """What an upgrade has done.

    Attributes:
        before, after: major versions of PostgreSQL.
        kept: where the old database is now.
    """

    before: str
    after: str
    kept: Path
    audit: Audit


def upgrade(data_dir: Path, binaries: Path | None) -> Upgraded | None:
    """Moves the database of a data directory, which no service may use meanwhile, to our version.

    Args:
        binaries: the programs of the old version; None: they are looked for.

    Returns:
        None: there is nothing to upgrade.

    Raises:
        SetUpError: one line for the operator; the old database is as it was.
    """
    data_dir = data_dir.resolve()
    versions = other_versions(data_dir)
    if check_cluster(cluster_in(data_dir)) or not versions:
        return None
    if int(versions[-1]) > int(MAJOR_VERSION):
        raise SetUpError(
            f"{data_dir} is of PostgreSQL {versions[-1]}, newer than the {MAJOR_VERSION} of this version of Saldo"
        )
    older = Older(versions[-1], _binaries(versions[-1], binaries))
    unfinished = data_dir / f"upgrade.{UNFINISHED}"
    with one_line(data_dir):
        old = EmbeddedServer(data_dir, older=older)
        old.start()  # takes the directory's lock: no service runs, and none starts
        try:
            discard(unfinished)
            found = _move(old, older, unfinished)
            cluster_in(unfinished).rename(cluster_in(data_dir))
        finally:
            old.stop()
            remove(unfinished)
        kept = cluster_in(data_dir, f"{older.major}.{KEPT}")
        old.cluster.rename(kept)
        sync_directory(data_dir)
    return Upgraded(older.major, MAJOR_VERSION, kept, found)


def _binaries(major: str, given: Path | None) -> Path:
    if given is not None:
        if version_of(given.resolve()) != major:
            raise SetUpError(f"--programs {given}: there is no postgres of version {major}")
        return given.resolve()
    found = binaries_of(major)
    if found is None:
        raise SetUpError(
            f"the programs of PostgreSQL {major} are not here: install them (Debian: package "
            f"postgresql-{major}), and name their directory with --programs"
        )
    return found


def _move(old: EmbeddedServer, older: Older, new_data_dir: Path) -> Audit:
    """Writes the ledger into a new database, and holds that against the old one."""
    new = EmbeddedServer(new_data_dir)
    new.start()
    try:
        account = Account.of_server()
        dump = new_data_dir / "dump"
        dump.mkdir(mode=0o700)
        account.give(dump)
        jobs = f"--jobs={max(1, (os.cpu_count() or 2) // 2)}"
        # The old version's: it knows its own server. The new one's writes down what later releases
        # of the old keep for themselves, and can't read it (seen: pg_attver of 15.20).
        Programs(account, new_data_dir, old.socket_dir, binaries=older.binaries).run(
            "pg_dump",
            f"--dbname={old.ledger_url}",
            *("--format=directory", "--compress=0", "--no-sync", jobs, f"--file={dump}"),
        )
        Programs(account, new_data_dir, new.socket_dir).run(
            "pg_restore", f"--dbname={new.ledger_url}", "--exit-on-error", jobs, str(dump)
        )
        with psycopg.connect(new.ledger_url, autocommit=True) as connection:
            connection.execute("ANALYZE")
        if _heads(old) != _heads(new):
            raise SetUpError("the new database does not hold what the old one does")
        return audit(new.ledger_url)
    finally:
        new.stop()


def _heads(server: EmbeddedServer) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.ledger_url) as connection:
        return connection.execute(statement("log_heads")).fetchall()
