"""The files of the database: their creation, and the configuration that is ours."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from saldo.store.embedded.account import Account
from saldo.store.embedded.archive import Recovery, archiving, recovering, write_script
from saldo.store.embedded.programs import MAJOR_VERSION, Programs
from saldo.store.errors import SetUpError

UNFINISHED = "unfinished"
"""Ends the name of what is being made; under its own name it is whole."""

_log = logging.getLogger("saldo.embedded")


def cluster_in(data_dir: Path, major: str = MAJOR_VERSION) -> Path:
    """Where a data directory has the cluster of a version."""
    return data_dir / f"postgresql-{major}"


def unfinished_restore(data_dir: Path) -> Path:
    """Where a restore works until it is whole."""
    return data_dir / f"restore.{UNFINISHED}"


def other_versions(data_dir: Path) -> list[str]:
    """The major versions of other clusters in a data directory, the newest last."""
    found = (re.fullmatch(r"postgresql-(\d+)", path.name) for path in data_dir.glob("postgresql-*"))
    return sorted((match[1] for match in found if match and match[1] != MAJOR_VERSION), key=int)


def check_cluster(cluster: Path) -> bool:
    """Whether the cluster is there.

    Raises:
        SetUpError: there is something else in its place.
    """
    version = cluster / "PG_VERSION"
    major = cluster.name.removeprefix("postgresql-")
    if version.exists():
        if (found := version.read_text().strip()) != major:
            raise SetUpError(f"{cluster} is of PostgreSQL {found}, not {major}")
        return True
    if cluster.exists():
        raise SetUpError(f"{cluster} is there and is no PostgreSQL cluster")
    return False


def create_cluster(cluster: Path, account: Account, programs: Programs) -> None:
    """Creates the cluster if it is not there.

    Raises:
        SetUpError: there is something else in its place.
    """
    if check_cluster(cluster):
        return
    # An empty ledger beside the one with the money would look like a loss of everything.
    if others := other_versions(cluster.parent):
        raise SetUpError(
            f"{cluster.parent} holds a database of PostgreSQL {others[-1]}, and this version of Saldo has "
            f"{MAJOR_VERSION}: run saldo upgrade"
        )
    if unfinished_restore(cluster.parent).exists():
        raise SetUpError(f"the restore into {cluster.parent} was not finished: run it again")
    # Beside its place and then moved: a kill in the middle leaves nothing half-done there.
    # A name of its own: the initdb of a killed service may still be writing into the last one.
    prefix = f"{cluster.name}.{UNFINISHED}"
    for left in cluster.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=cluster.parent))
    account.give(unfinished)
    _log.info("creating a database in %s", cluster.parent)
    programs.run(
        "initdb",
        "--pgdata", str(unfinished),
        "--username", "postgres",
        "--auth", "peer",
        "--encoding", "UTF8",
        "--locale", "C",
        "--data-checksums",
    )  # fmt: skip
    with (unfinished / "postgresql.conf").open("a") as configuration:
        configuration.write("\ninclude 'saldo.conf'\n")
        configuration.flush()
        os.fsync(configuration.fileno())
    unfinished.rename(cluster)
    # Else the name may be lost with the power, and what lies under the other is removed.
    sync_directory(cluster.parent)


def configure_cluster(
    cluster: Path,
    account: Account,
    socket_dir: Path,
    archive_dir: Path | None,
    recovery: Recovery | None,
) -> None:
    """Writes what we decide, at every start: the machine may have changed."""
    configuration = _tuning(socket_dir, cluster)
    if archive_dir is not None:
        write_script(cluster, account)
        configuration += archiving(archive_dir)
    if recovery is not None:
        configuration += recovering(recovery)
    files = {
        "saldo.conf": configuration,
        # The second line is for `saldo backup`.
        "pg_hba.conf": "local all all peer map=saldo\nlocal replication postgres peer map=saldo\n",
        "pg_ident.conf": "".join(
            f'saldo "{user}" {role}\n'
            for user in account.may_log_in_as()
            for role in ("postgres", "saldo_owner", "saldo")
        ),
    }
    for name, text in files.items():
        path = cluster / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        account.give(path)


def sync_directory(directory: Path) -> None:
    """Brings the names in a directory to the disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _memory_mb() -> int:
    """The machine's, or the container's if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no control groups, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory // 2**20


def _tuning(socket_dir: Path, cluster: Path) -> str:
    memory_mb = _memory_mb()
    shared_mb = max(128, min(2048, memory_mb // 8))
    # The log is kept beside the data: it must not fill a small disk by itself.
    wal_mb = max(256, min(4096, shutil.disk_usage(cluster).total // 2**20 // 10))
    quoted = str(socket_dir).replace("'", "''")
    return f"""\
# Written by Saldo at every start. Settings of your own belong in postgresql.auto.conf (ALTER SYSTEM).
listen_addresses = ''                    # the Unix socket only
port = 5432                              # names the socket; PGPORT would choose otherwise
unix_socket_directories = '"{quoted}"'   # a directory of the server's account alone
unix_socket_permissions = 0700
max_connections = 200                    # lanes and readers of 64 workers at most
shared_buffers = {shared_mb}MB           # the hot end of every index
effective_cache_size = {memory_mb // 2}MB
random_page_cost = 1.1                   # indexes, always: nobody embeds on a spinning disk
jit = off                                # short statements: compiling costs more than it saves
fsync = on                               # acknowledged means on the disk
full_page_writes = on
synchronous_commit = on
wal_compression = off                    # pglz takes more of a processor than the disk gains (0012)
max_wal_size = {wal_mb}MB                # rare checkpoints: fewer full-page images
min_wal_size = {min(256, wal_mb // 2)}MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
client_connection_check_interval = 1s    # a backend whose client is gone must not keep its locks
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_min_messages = warning
log_min_error_statement = panic          # no amounts and no names in the log
log_error_verbosity = terse              # nor in the DETAIL of a violated constraint
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""
