"""Upgrade to the next major version of PostgreSQL, by a dump of the old database that is restored into a new one.

The old database is only read. The new database gets its final name when it is complete and has been checked.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg

from saldo.store.embedded.backup import convert_errors, discard_cluster, remove_directory
from saldo.store.embedded.binaries import MAJOR_VERSION, Programs, find_binaries, read_version
from saldo.store.embedded.cluster import (
    UNFINISHED_SUFFIX,
    check_cluster,
    get_cluster_path,
    list_other_versions,
    sync_directory,
)
from saldo.store.embedded.server import EmbeddedServer, OlderVersion
from saldo.store.embedded.system_account import ServerAccount
from saldo.store.errors import ConfigurationError
from saldo.store.schema.integrity_check import IntegrityReport, check_integrity
from saldo.store.statements import load_statement

OLD_CLUSTER_SUFFIX = "before-upgrade"
"""Suffix that the directory of the old database gets after an upgrade. No version of Saldo uses a directory with this
suffix."""


@dataclass(frozen=True, slots=True)
class UpgradeResult:
    """The result of an upgrade.

    Attributes:
        before, after: The major versions of PostgreSQL.
        kept: The directory in which the old database is kept.
        integrity: The integrity check of the new database.
    """

    before: str
    after: str
    kept: Path
    integrity: IntegrityReport


def upgrade(data_dir: Path, binaries: Path | None) -> UpgradeResult | None:
    """Upgrade the database of a data directory to `MAJOR_VERSION`. No service may use it at the same time.

    Args:
        binaries: The directory of the old version's programs; None searches for them.

    Returns:
        The result; None if there is nothing to upgrade.

    Raises:
        ConfigurationError: The message is one line for the operator. The old database is unchanged.
    """
    data_dir = data_dir.resolve()
    versions = list_other_versions(data_dir)
    if check_cluster(get_cluster_path(data_dir)) or not versions:
        return None
    if int(versions[-1]) > int(MAJOR_VERSION):
        raise ConfigurationError(
            f"{data_dir} belongs to PostgreSQL {versions[-1]}, but this version of Saldo uses PostgreSQL "
            f"{MAJOR_VERSION}: "
            "use a newer version of Saldo"
        )
    older = OlderVersion(versions[-1], _find_older_binaries(versions[-1], binaries))
    unfinished = data_dir / f"upgrade.{UNFINISHED_SUFFIX}"
    with convert_errors(data_dir):
        old = EmbeddedServer(data_dir, older=older)
        old.start()  # holds the lock of the directory, so that no service runs or starts
        try:
            discard_cluster(unfinished)
            found = _copy_ledger(old, older, unfinished)
            get_cluster_path(unfinished).rename(get_cluster_path(data_dir))
        finally:
            old.stop()
            remove_directory(unfinished)
        kept = get_cluster_path(data_dir, f"{older.major}.{OLD_CLUSTER_SUFFIX}")
        old.cluster.rename(kept)
        sync_directory(data_dir)
    return UpgradeResult(older.major, MAJOR_VERSION, kept, found)


def _find_older_binaries(major: str, configured: Path | None) -> Path:
    if configured is not None:
        if read_version(configured.resolve()) != major:
            raise ConfigurationError(
                f"--programs {configured}: the directory does not contain postgres of version {major}"
            )
        return configured.resolve()
    binaries = find_binaries(major)
    if binaries is None:
        raise ConfigurationError(
            f"the programs of PostgreSQL {major} were not found: install them (Debian: package "
            f"postgresql-{major}), or give their directory with --programs"
        )
    return binaries


def _copy_ledger(old: EmbeddedServer, older: OlderVersion, new_data_dir: Path) -> IntegrityReport:
    """Copy the ledger into a new database, compare it with the old one, and check it."""
    new = EmbeddedServer(new_data_dir)
    new.start()
    try:
        account = ServerAccount.for_server()
        dump = new_data_dir / "dump"
        dump.mkdir(mode=0o700)
        account.chown(dump)
        jobs = f"--jobs={max(1, (os.cpu_count() or 2) // 2)}"
        # The dump is made by the pg_dump of the old version, which fits the old server. The pg_dump of the new version
        # would also dump objects that it can't restore, and that later releases of the old version leave out (seen:
        # pg_attver of 15.20).
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
        if _read_last_positions(old) != _read_last_positions(new):
            raise ConfigurationError(
                "the upgraded database differs from the old one; the old one is unchanged"
            )
        return check_integrity(new.ledger_url)
    finally:
        new.stop()


def _read_last_positions(server: EmbeddedServer) -> list[tuple[Any, ...]]:
    with psycopg.connect(server.ledger_url) as connection:
        # The last column is left out, because it is the log identity, which is different in the new database.
        return [row[:2] for row in connection.execute(load_statement("log/last_positions"))]
