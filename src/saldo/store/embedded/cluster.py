"""Creation of the database's files, and the part of PostgreSQL's configuration that Saldo writes."""

from __future__ import annotations

import logging
import os
import re
import shutil
import tempfile
from contextlib import suppress
from pathlib import Path

from saldo.store.embedded.binaries import MAJOR_VERSION, Programs
from saldo.store.embedded.system_account import ServerAccount
from saldo.store.embedded.wal_archive import (
    Recovery,
    format_archive_configuration,
    format_recovery_configuration,
    write_archive_script,
)
from saldo.store.errors import ConfigurationError

UNFINISHED_SUFFIX = "unfinished"
"""Suffix of the names of incomplete files and directories. They are renamed when they are complete."""

_log = logging.getLogger("saldo.embedded")


def get_cluster_path(data_dir: Path, major: str = MAJOR_VERSION) -> Path:
    """Return the directory of a version's cluster in a data directory."""
    return data_dir / f"postgresql-{major}"


def get_unfinished_restore_path(data_dir: Path) -> Path:
    """Return the directory that contains a restored database until the restore is complete."""
    return data_dir / f"restore.{UNFINISHED_SUFFIX}"


def list_other_versions(data_dir: Path) -> list[str]:
    """Return the major versions of the clusters in a data directory, except `MAJOR_VERSION`, the newest last."""
    versions = (
        re.fullmatch(r"postgresql-(\d+)", path.name) for path in data_dir.glob("postgresql-*")
    )
    return sorted((match[1] for match in versions if match and match[1] != MAJOR_VERSION), key=int)


def check_cluster(cluster: Path) -> bool:
    """Return whether the cluster exists.

    Raises:
        ConfigurationError: The path contains something else, or the cluster of another version.
    """
    version = cluster / "PG_VERSION"
    major = cluster.name.removeprefix("postgresql-")
    if version.exists():
        if (found := version.read_text().strip()) != major:
            raise ConfigurationError(f"{cluster} belongs to PostgreSQL {found}, not {major}")
        return True
    if cluster.exists():
        raise ConfigurationError(
            f"{cluster} exists, but is not a PostgreSQL cluster: move it away, or choose another data directory"
        )
    return False


def create_cluster(cluster: Path, account: ServerAccount, programs: Programs) -> None:
    """Create the cluster if it does not exist.

    Raises:
        ConfigurationError: The path contains something else, or the data directory holds another version's cluster or
            an unfinished restore.
    """
    if check_cluster(cluster):
        return
    # A new, empty ledger next to the existing one would look like the loss of all data.
    if others := list_other_versions(cluster.parent):
        raise ConfigurationError(
            f"{cluster.parent} contains a database of PostgreSQL {others[-1]}, but this version of Saldo uses "
            f"PostgreSQL {MAJOR_VERSION}: run saldo upgrade"
        )
    if get_unfinished_restore_path(cluster.parent).exists():
        raise ConfigurationError(
            f"the restore into {cluster.parent} was not completed: repeat saldo restore"
        )
    # The cluster is created under a temporary name and then renamed, so that a kill leaves no incomplete cluster. The
    # temporary name is unique, because the initdb of a killed service may still be writing into another one.
    prefix = f"{cluster.name}.{UNFINISHED_SUFFIX}"
    for left in cluster.parent.glob(f"{prefix}*"):
        shutil.rmtree(left, ignore_errors=True)
    unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=cluster.parent))
    account.chown(unfinished)
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
    # Without the flush, a power loss could undo the rename, and the next start would remove the directory with the
    # temporary name.
    sync_directory(cluster.parent)


def configure_cluster(
    cluster: Path,
    account: ServerAccount,
    socket_dir: Path,
    archive_dir: Path | None,
    recovery: Recovery | None,
) -> None:
    """Write Saldo's configuration. It is written at every start, because the memory and the disk may have changed."""
    configuration = _format_base_configuration(socket_dir, cluster)
    if archive_dir is not None:
        write_archive_script(cluster, account)
        configuration += format_archive_configuration(archive_dir)
    if recovery is not None:
        configuration += format_recovery_configuration(recovery)
    files = {
        "saldo.conf": configuration,
        # `saldo backup` needs the second line.
        "pg_hba.conf": "local all all peer map=saldo\nlocal replication postgres peer map=saldo\n",
        "pg_ident.conf": "".join(
            f'saldo "{user}" {role}\n'
            for user in account.list_peer_names()
            for role in ("postgres", "saldo_owner", "saldo")
        ),
    }
    for name, text in files.items():
        path = cluster / name
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        account.chown(path)


def sync_directory(directory: Path) -> None:
    """Flush the names in a directory to the disk (fsync)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _read_memory_mb() -> int:
    """Return the memory of the machine, or the container's limit if that is less, in MB (2**20 bytes)."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no control groups, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory // 2**20


def _format_base_configuration(socket_dir: Path, cluster: Path) -> str:
    memory_mb = _read_memory_mb()
    shared_mb = max(128, min(2048, memory_mb // 8))
    # The WAL is on the same disk as the data, and must not fill a small disk.
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
