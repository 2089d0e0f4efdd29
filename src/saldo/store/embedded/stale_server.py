"""Cleanup after a killed service or a killed server. No old server may be left running, because two servers on one
cluster would destroy the database."""

from __future__ import annotations

import logging
import os
import signal
import socket
import time
from contextlib import suppress
from pathlib import Path

from saldo.store.embedded.binaries import Programs
from saldo.store.embedded.data_directory import SOCKET_NAME
from saldo.store.errors import ConfigurationError

STOP_SECONDS_MAX = 60
"""Maximum time for a fast shutdown, which writes a checkpoint. After this time, the server is stopped without a
checkpoint."""

BACKENDS_END_SECONDS_MAX = 60
"""Maximum time to wait until the backends of a killed server have ended. They end after their current statement."""

_log = logging.getLogger("saldo.embedded")


def stop_stale_server(cluster: Path, socket_dir: Path, programs: Programs) -> None:
    """Stop the server that a killed service left running, and remove stale lock files.

    The caller holds the lock of the data directory, so that no service uses it. Damaged lock files are removed, too:
    after a power loss a lock file may be empty, and PostgreSQL would then never start again.

    Raises:
        ConfigurationError: Backends of a killed server don't end, or it can't be determined whether a server runs.
    """
    pid_file, socket_lock = cluster / "postmaster.pid", socket_dir / f"{SOCKET_NAME}.lock"
    left = [file for file in (pid_file, socket_lock) if file.exists()]
    if not left:
        return
    if not Path("/proc").is_dir():
        # Without /proc, PostgreSQL's own check of its lock files must suffice. That check needs a process id in each
        # file.
        for file in left:
            if _read_pid(file) is None:
                raise ConfigurationError(
                    f"{file} is damaged: if no PostgreSQL is running in {cluster}, delete the file and start again"
                )
        return
    pid = _read_pid(pid_file)
    if pid is not None and _is_postgres(pid, cluster):
        _log.warning(
            "stopping a PostgreSQL server that an earlier process left running (pid %d)", pid
        )
        for mode, seconds in (("fast", STOP_SECONDS_MAX), ("immediate", 10)):
            with suppress(ConfigurationError):  # the start reports the error if a server still runs
                programs.run(
                    "pg_ctl", "--pgdata", str(cluster), "stop", "-m", mode, "-t", str(seconds)
                )
        return
    _stop_unlisted_servers(cluster)
    # The server was killed. Its process id may now belong to a zombie or to another program, which PostgreSQL would
    # take for a running server. If no backends remain, the file is stale.
    deadline = time.monotonic() + BACKENDS_END_SECONDS_MAX
    while _find_backend_pids(cluster):
        if time.monotonic() > deadline:
            raise ConfigurationError(
                f"processes of a killed PostgreSQL are still running in {cluster}: wait until they end, or end "
                "them"
            )
        time.sleep(0.1)
    if _is_socket_answering(socket_dir / SOCKET_NAME):
        raise ConfigurationError(
            f"a PostgreSQL server that is not listed in {pid_file} is running in {socket_dir}: stop it first"
        )
    for stale in left:
        if _read_pid(stale) is None:
            _log.warning("removing the damaged lock file %s; no server is running", stale)
        stale.unlink(missing_ok=True)


def _read_pid(file: Path) -> int | None:
    """Return the process id in the first line of a lock file; None if there is none."""
    try:
        return int(file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return None


def _stop_unlisted_servers(cluster: Path) -> None:
    """Stop servers of this cluster that are not named in the pid file, because the file is damaged."""
    for number, seconds in ((signal.SIGINT, STOP_SECONDS_MAX), (signal.SIGQUIT, 10)):
        deadline = time.monotonic() + seconds
        for pid in _find_server_pids(cluster):
            _log.warning(
                "stopping a PostgreSQL server that an earlier process left running (pid %d)", pid
            )
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        while _find_server_pids(cluster) and time.monotonic() < deadline:
            time.sleep(0.1)


def _find_server_pids(cluster: Path) -> list[int]:
    """Return the process ids of the servers of this cluster."""
    numbers = (int(each.name) for each in Path("/proc").iterdir() if each.name.isdigit())
    return [pid for pid in numbers if _is_postgres(pid, cluster)]


def _is_socket_answering(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX) as connection:
        try:
            connection.connect(str(path))
        except OSError:
            return False
    return True


def _is_postgres(pid: int, cluster: Path) -> bool:
    """Return whether a process is the server of this cluster, and not another process with a reused id."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[0].endswith(b"postgres") and os.fsencode(cluster) in arguments


def _find_backend_pids(cluster: Path) -> list[int]:
    """Return the ids of a server's processes, all of which have the cluster as their working directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            # If root may not trace processes, the link can't be read. The cluster is then protected only by
            # PostgreSQL's own check and by the retry in `EmbeddedServer`.
            with suppress(OSError):
                if (process / "cwd").readlink() == cluster:
                    found.append(int(process.name))
    return found
