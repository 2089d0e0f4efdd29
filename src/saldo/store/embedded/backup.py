"""A copy of the database while the service runs, and a database from such a copy.

A backup is a directory as `pg_basebackup` writes it: PostgreSQL's files, the changes that were made
while they were copied, and a manifest with a checksum of each.
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psycopg

from saldo.store.audit import Audit, audit
from saldo.store.embedded.account import Account
from saldo.store.embedded.archive import Recovery
from saldo.store.embedded.cluster import (
    UNFINISHED,
    cluster_in,
    sync_directory,
    unfinished_restore,
)
from saldo.store.embedded.manifest import CHECKSUMS, MANIFEST_NAME, verify
from saldo.store.embedded.orphan import end_orphan
from saldo.store.embedded.place import LOCK_NAME, SOCKET_DIR_NAME, take_lock
from saldo.store.embedded.programs import MAJOR_VERSION, Programs
from saldo.store.embedded.server import EmbeddedServer
from saldo.store.errors import SetUpError
from saldo.store.migrate import migrate
from saldo.store.statements import statement

_log = logging.getLogger("saldo.embedded")


@dataclass(frozen=True, slots=True)
class Restored:
    """What a restore has found.

    Attributes:
        audit: of the restored ledger.
        timeline: of the restored database.
    """

    audit: Audit
    timeline: int


def back_up(server: EmbeddedServer, target: Path) -> int:
    """Copies the database of a server that runs.

    Args:
        target: the directory to make; it must not exist.

    Returns:
        Bytes of the backup.

    Raises:
        SetUpError: one line for the operator; the target does not exist then.
    """
    target = target.absolute()
    if target.exists():
        raise SetUpError(f"{target} is there already: give each backup a name of its own")
    account = Account.of_server()
    unfinished = target.with_name(f"{target.name}.{UNFINISHED}")
    programs = Programs(account, unfinished, server.socket_dir)
    with one_line(target):
        remove(unfinished)
        unfinished.mkdir(mode=0o700, parents=True)
        try:
            account.give(unfinished)
            programs.run(
                "pg_basebackup",
                f"--dbname={server.superuser_url}",
                f"--pgdata={unfinished}",
                "--wal-method=stream",
                "--checkpoint=fast",
                f"--manifest-checksums={CHECKSUMS}",
            )
            verify(unfinished, programs)
            size_bytes = sum(path.lstat().st_size for path in unfinished.rglob("*"))
            unfinished.rename(target)
            sync_directory(target.parent)
        except BaseException:
            remove(unfinished)
            raise
    return size_bytes


def restore(backup: Path, data_dir: Path, recovery: Recovery) -> Restored:
    """Makes a data directory of a backup, brings it forward by the archive, and checks what came out.

    Args:
        backup: as `back_up` made it.
        data_dir: the directory to make, or an empty one.
        recovery: the archive, and until when to read it.

    Raises:
        SetUpError: one line for the operator; the data directory is as it was then.
    """
    backup, data_dir = backup.resolve(), data_dir.resolve()
    with one_line(data_dir):
        unfinished = unfinished_restore(data_dir)
        existed = data_dir.exists()
        # What a start leaves that was refused because a restore was not finished.
        passed = {unfinished.name, LOCK_NAME, SOCKET_DIR_NAME}
        if existed and any(path.name not in passed for path in data_dir.iterdir()):
            raise SetUpError(f"{data_dir} is not empty: restore into a directory of its own")
        _check_backup(backup)
        data_dir.mkdir(parents=True, exist_ok=True)
        lock = take_lock(data_dir)
        try:
            discard(unfinished)
            _copy(backup, cluster_in(unfinished))
            restored = _recover(unfinished, recovery)
            cluster_in(unfinished).rename(cluster_in(data_dir))
            sync_directory(data_dir)
        except BaseException:
            remove(unfinished)
            (data_dir / LOCK_NAME).unlink()
            if not existed:
                with suppress(OSError):
                    data_dir.rmdir()
            raise
        finally:
            lock.close()
        remove(unfinished)
    return restored


def is_backup(backup: Path) -> bool:
    """Whether the directory looks like one."""
    return (backup / "PG_VERSION").exists() and (backup / MANIFEST_NAME).exists()


def _check_backup(backup: Path) -> None:
    version = backup / "PG_VERSION"
    if not is_backup(backup):
        raise SetUpError(f"{backup} is no backup of saldo backup")
    if (found := version.read_text().strip()) != MAJOR_VERSION:
        raise SetUpError(
            f"{backup} is of PostgreSQL {found}, not {MAJOR_VERSION}: restore it with the version of Saldo "
            "that took it, then run saldo upgrade"
        )
    _log.info("verifying %s", backup)
    verify(backup, Programs(Account.of_server(), backup))


def _copy(backup: Path, cluster: Path) -> None:
    account = Account.of_server()
    _log.info("copying %s", backup)
    shutil.copytree(backup, cluster, symlinks=True)
    for path in (cluster, *cluster.rglob("*")):
        account.give(path)
    cluster.chmod(0o700)
    (cluster / "recovery.signal").touch(mode=0o600)
    account.give(cluster / "recovery.signal")


def _recover(data_dir: Path, recovery: Recovery) -> Restored:
    """Runs the server until it has read all it shall, then looks at what is there."""
    server = EmbeddedServer(data_dir, recovery=recovery)
    server.start()
    try:
        migrate(server.owner_url, server.service_url)
        with psycopg.connect(server.ledger_url) as connection:
            connection.execute(statement("restore_mark"))
        found = audit(server.ledger_url)
        with psycopg.connect(server.superuser_url) as connection:
            row = connection.execute("SELECT timeline_id FROM pg_control_checkpoint()").fetchone()
    finally:
        server.stop()
    assert row is not None
    _announce_timeline(server.cluster, row[0])
    return Restored(found, row[0])


def _announce_timeline(cluster: Path, timeline: int) -> None:
    """Lets the first server that archives keep the history of this timeline, too.

    The restore itself does not archive: it may be a rehearsal. But another restore from the same
    backup must find that this number is taken.
    """
    ready = cluster / "pg_wal/archive_status" / f"{timeline:08X}.history.ready"
    ready.touch(mode=0o600)
    Account.of_server().give(ready)


def discard(data_dir: Path) -> None:
    """Removes what a killed restore or upgrade has left, its server first.

    Raises:
        SetUpError: the server doesn't end.
    """
    cluster, socket_dir = cluster_in(data_dir), data_dir / SOCKET_DIR_NAME
    if cluster.exists():
        # Else it would go on in files that have the same names as the next attempt's.
        end_orphan(cluster, socket_dir, Programs(Account.of_server(), data_dir))
    remove(data_dir)


def remove(directory: Path) -> None:
    """Removes what was not finished, if it is there."""
    shutil.rmtree(directory, ignore_errors=True)


@contextmanager
def one_line(directory: Path) -> Iterator[None]:
    """Turns what the operator can mend into one line.

    Raises:
        SetUpError: instead of the operating system's or the driver's errors.
    """
    try:
        yield
    except shutil.Error as error:
        raise SetUpError(f"{directory}: {error.args[0][0][2]}") from error
    except OSError as error:
        raise SetUpError(f"{directory}: {error.strerror or error}") from error
    except psycopg.Error as error:
        raise SetUpError(f"{directory}: {str(error).strip().partition(chr(10))[0]}") from error
