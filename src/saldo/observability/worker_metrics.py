"""The metrics directory of a service with several workers (the multiprocess mode of prometheus-client)."""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client.multiprocess import mark_process_dead

VARIABLE = "PROMETHEUS_MULTIPROC_DIR"
PREFIX = "saldo-metrics-"
LOCK = "lock"
"""Name of the lock file. The file is locked while the service that created the directory runs. prometheus-client reads
only `*.db`."""

STARTING_SECONDS_MAX = 60
"""Age in seconds above which a directory without a lock file counts as left over. A younger one may belong to a service
that has not created its lock file yet."""


@contextmanager
def create_metrics_directory() -> Iterator[None]:
    """Provide a directory for the metrics of the workers that are started inside, and remove it at the end.

    Left-over directories of services that could not remove them (SIGKILL, power failure) are removed first.
    """
    remove_leftover_directories()
    with tempfile.TemporaryDirectory(prefix=PREFIX) as directory, _hold_lock(Path(directory)):
        os.environ[VARIABLE] = directory
        try:
            yield
        finally:
            del os.environ[VARIABLE]


def remove_worker_gauges(pid: int) -> None:
    """Remove the gauges of a dead worker. Its counters are kept, because counters must not decrease."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


def list_worker_pids() -> list[int]:
    """Return the process ids of the workers that have gauges."""
    paths = Path(os.environ[VARIABLE]).glob("gauge_live*_*.db")
    return sorted({int(path.stem.rpartition("_")[2]) for path in paths})


def remove_leftover_directories() -> None:
    """Remove the directories of services that no longer run. Directories of other accounts are kept."""
    for directory in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        with suppress(OSError):
            if _is_leftover(directory):
                shutil.rmtree(directory)


def _is_leftover(directory: Path) -> bool:
    if directory.is_symlink() or directory.stat().st_uid != os.geteuid():
        return False
    try:
        lock = os.open(directory / LOCK, os.O_RDWR | os.O_NOFOLLOW)
    except FileNotFoundError:
        return time.time() - directory.stat().st_mtime > STARTING_SECONDS_MAX
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(lock)
    return True


@contextmanager
def _hold_lock(directory: Path) -> Iterator[None]:
    """Hold the lock. The kernel releases it however the process ends, and workers don't inherit it."""
    new = directory / f"{LOCK}.new"
    lock = os.open(new, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        # The file gets its name after it is locked. Another starting service would remove a directory without a lock.
        fcntl.flock(lock, fcntl.LOCK_EX)
        new.rename(directory / LOCK)
        yield
    finally:
        os.close(lock)
