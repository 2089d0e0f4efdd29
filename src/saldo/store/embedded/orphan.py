"""What a killed service, or a killed server, has left behind: two servers destroy one cluster."""

from __future__ import annotations

import logging
import os
import time
from contextlib import suppress
from pathlib import Path

from saldo.store.embedded.place import SOCKET_NAME
from saldo.store.embedded.programs import Programs
from saldo.store.errors import SetUpError

STOP_SECONDS_MAX = 60
"""A fast shutdown writes a checkpoint; after this the server is stopped the hard way."""

BACKENDS_END_SECONDS_MAX = 60
"""Backends of a killed server end by themselves when their statement does."""

_log = logging.getLogger("saldo.embedded")


def end_orphan(cluster: Path, socket_dir: Path, programs: Programs) -> None:
    """Ends what a killed service has left, so that our own server can start.

    Raises:
        SetUpError: backends of a killed server don't end.
    """
    if not Path("/proc").is_dir():
        return  # PostgreSQL's own check of its pid file has to do
    pid_file = cluster / "postmaster.pid"
    try:
        pid = int(pid_file.read_text().splitlines()[0])
    except (OSError, ValueError, IndexError):
        return
    if _is_postgres(pid, cluster):
        _log.warning("stopping the PostgreSQL that an earlier process left (pid %d)", pid)
        for mode, seconds in (("fast", STOP_SECONDS_MAX), ("immediate", 10)):
            with suppress(SetUpError):  # the second finds none, or our own start will say
                programs.run(
                    "pg_ctl", "--pgdata", str(cluster), "stop", "-m", mode, "-t", str(seconds)
                )
        return
    # Its server was killed; the number may be a zombie's or another program's by now, and
    # PostgreSQL would take that for a running server. Without backends the file is only stale.
    deadline = time.monotonic() + BACKENDS_END_SECONDS_MAX
    while _backends(cluster):
        if time.monotonic() > deadline:
            raise SetUpError(f"processes of a killed PostgreSQL still work in {cluster}")
        time.sleep(0.1)
    for stale in (pid_file, socket_dir / f"{SOCKET_NAME}.lock"):
        stale.unlink(missing_ok=True)


def _is_postgres(pid: int, cluster: Path) -> bool:
    """Whether the process is the server of this cluster, not another that got its number."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[0].endswith(b"postgres") and os.fsencode(cluster) in arguments


def _backends(cluster: Path) -> list[int]:
    """Processes that work in the cluster: every one of a server's has it as its directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            # Unreadable where root may not trace: PostgreSQL's own check, and our retry, remain.
            with suppress(OSError):
                if (process / "cwd").readlink() == cluster:
                    found.append(int(process.name))
    return found
