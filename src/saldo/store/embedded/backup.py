"""Backup of the database of a running service, and restore of a database from a backup.

A backup is a directory as `pg_basebackup` writes it. It contains PostgreSQL's files, the WAL that was written while
they were copied, and a manifest with the checksum of each file.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from saldo.store.embedded.backup_manifest import CHECKSUMS, MANIFEST_NAME, verify_backup
from saldo.store.embedded.binaries import MAJOR_VERSION, Programs
from saldo.store.embedded.cluster import (
    UNFINISHED_SUFFIX,
    get_cluster_path,
    get_unfinished_restore_path,
    sync_directory,
)
from saldo.store.embedded.data_directory import LOCK_NAME, SOCKET_DIR_NAME, take_lock
from saldo.store.embedded.server import EmbeddedServer
from saldo.store.embedded.stale_server import stop_stale_server
from saldo.store.embedded.system_account import ServerAccount
from saldo.store.embedded.wal_archive import Recovery
from saldo.store.errors import ConfigurationError
from saldo.store.schema.integrity_check import IntegrityReport, check_integrity
from saldo.store.schema.migrate import migrate_schema
from saldo.store.statements import load_statement

_log = logging.getLogger("saldo.embedded")


@dataclass(frozen=True, slots=True)
class RestoreResult:
    """The result of a restore.

    Attributes:
        integrity: The integrity check of the restored ledger.
        timeline: The timeline of the restored database.
    """

    integrity: IntegrityReport
    timeline: int


def back_up(server: EmbeddedServer, target: Path) -> int:
    """Back up the database of a running server.

    Args:
        target: The directory to create; it must not exist.

    Returns:
        The size of the backup in bytes.

    Raises:
        ConfigurationError: The target exists, or the backup can't be made or verified. The message is one line for the
            operator. The unfinished backup is removed.
    """
    target = target.absolute()
    if target.exists():
        raise ConfigurationError(f"{target} already exists: choose a new directory for each backup")
    account = ServerAccount.for_server()
    unfinished = target.with_name(f"{target.name}.{UNFINISHED_SUFFIX}")
    programs = Programs(account, unfinished, server.socket_dir)
    with convert_errors(target):
        remove_directory(unfinished)
        unfinished.mkdir(mode=0o700, parents=True)
        try:
            account.chown(unfinished)
            programs.run(
                "pg_basebackup",
                f"--dbname={server.superuser_url}",
                f"--pgdata={unfinished}",
                "--wal-method=stream",
                "--checkpoint=fast",
                f"--manifest-checksums={CHECKSUMS}",
            )
            verify_backup(unfinished, programs)
            size_bytes = sum(path.lstat().st_size for path in unfinished.rglob("*"))
            unfinished.rename(target)
            sync_directory(target.parent)
        except BaseException:
            remove_directory(unfinished)
            raise
    return size_bytes


def restore(backup: Path, data_dir: Path, recovery: Recovery) -> RestoreResult:
    """Create a data directory from a backup, replay the WAL archive, and check the restored ledger.

    Args:
        backup: A directory that `back_up` created.
        data_dir: The directory to create, or an empty directory.
        recovery: The WAL archive, and the time up to which it is replayed.

    Raises:
        ConfigurationError: The data directory is not empty, or the backup can't be restored. The message is one line
            for the operator. The unfinished restore is removed.
    """
    backup, data_dir = backup.resolve(), data_dir.resolve()
    with convert_errors(data_dir):
        unfinished = get_unfinished_restore_path(data_dir)
        existed = data_dir.exists()
        # These files are allowed, because a start that failed because of an unfinished restore may have left them.
        passed = {unfinished.name, LOCK_NAME, SOCKET_DIR_NAME}
        if existed and any(path.name not in passed for path in data_dir.iterdir()):
            raise ConfigurationError(f"{data_dir} is not empty; restore into a new directory")
        _check_backup(backup)
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = take_lock(data_dir)
        try:
            discard_cluster(unfinished)
            _copy_files(backup, get_cluster_path(unfinished))
            restored = _recover_cluster(unfinished, recovery)
            get_cluster_path(unfinished).rename(get_cluster_path(data_dir))
            sync_directory(data_dir)
        except BaseException:
            remove_directory(unfinished)
            (data_dir / LOCK_NAME).unlink()
            if not existed:
                with suppress(OSError):
                    data_dir.rmdir()
            raise
        finally:
            lock.close()
        remove_directory(unfinished)
    return restored


def is_backup(backup: Path) -> bool:
    """Return whether a directory has the files that identify a backup."""
    return (backup / "PG_VERSION").exists() and (backup / MANIFEST_NAME).exists()


def _check_backup(backup: Path) -> None:
    version = backup / "PG_VERSION"
    if not is_backup(backup):
        raise ConfigurationError(f"{backup} is not a backup that `saldo backup` created")
    if (found := version.read_text().strip()) != MAJOR_VERSION:
        raise ConfigurationError(
            f"{backup} is a backup of PostgreSQL {found}, not {MAJOR_VERSION}: restore it with the version of Saldo "
            "that took it, then run saldo upgrade"
        )
    _log.info("verifying %s", backup)
    verify_backup(backup, Programs(ServerAccount.for_server(), backup))


def _copy_files(backup: Path, cluster: Path) -> None:
    account = ServerAccount.for_server()
    _log.info("copying %s", backup)
    shutil.copytree(backup, cluster, symlinks=True)
    for path in (cluster, *cluster.rglob("*")):
        account.chown(path)
    cluster.chmod(0o700)
    (cluster / "recovery.signal").touch(mode=0o600)
    account.chown(cluster / "recovery.signal")


def _recover_cluster(data_dir: Path, recovery: Recovery) -> RestoreResult:
    """Run the server until the recovery is complete, migrate the schema, and check the ledger."""
    server = EmbeddedServer(data_dir, recovery=recovery)
    server.start()
    try:
        migrate_schema(server.owner_role_url, server.service_role_url)
        with psycopg.connect(server.ledger_url) as connection:
            connection.execute(load_statement("embedded/set_restore_id"))
        found = check_integrity(server.ledger_url)
        with psycopg.connect(server.superuser_url) as connection:
            row = connection.execute(load_statement("embedded/timeline")).fetchone()
    finally:
        server.stop()
    assert row is not None
    _announce_timeline(server.cluster, row[0])
    return RestoreResult(found, row[0])


def _announce_timeline(cluster: Path, timeline: int) -> None:
    """Mark the history file of the new timeline, so that the first server with a WAL archive archives this file.

    A later restore from the same backup must find in the archive that the number of this timeline is in use. The
    restore itself archives nothing, because it may be a rehearsal.
    """
    ready = cluster / "pg_wal/archive_status" / f"{timeline:08X}.history.ready"
    ready.touch(mode=0o600)
    ServerAccount.for_server().chown(ready)


def discard_cluster(data_dir: Path) -> None:
    """Remove the files of a killed restore or upgrade, after stopping its server.

    Raises:
        ConfigurationError: The server can't be stopped.
    """
    cluster, socket_dir = get_cluster_path(data_dir), data_dir / SOCKET_DIR_NAME
    if cluster.exists():
        # A server that still runs would use the files of the next attempt, which have the same names.
        stop_stale_server(cluster, socket_dir, Programs(ServerAccount.for_server(), data_dir))
    remove_directory(data_dir)


def remove_directory(directory: Path) -> None:
    """Remove a directory of unfinished files, if it exists."""
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def convert_errors(directory: Path) -> Iterator[None]:
    """Convert errors that the operator can fix into a ConfigurationError with a message of one line.

    Raises:
        ConfigurationError: The operating system or the driver raised an error.
    """
    try:
        yield
    except shutil.Error as error:
        raise ConfigurationError(f"{directory}: {error.args[0][0][2]}") from error
    except OSError as error:
        raise ConfigurationError(f"{directory}: {error.strerror or error}") from error
    except psycopg.Error as error:
        raise ConfigurationError(
            f"{directory}: {str(error).strip().partition(chr(10))[0]}"
        ) from error
