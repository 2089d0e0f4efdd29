"""The metrics directory of a service with several workers."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from saldo.observability import worker_metrics

HOLD = """
from saldo.observability.worker_metrics import create_metrics_directory
with create_metrics_directory():
    print(flush=True)
    input()
"""


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory for temporary files, of the test's own."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@contextmanager
def _service() -> Iterator[subprocess.Popen[bytes]]:
    """Yield a process that has a metrics directory."""
    command = [sys.executable, "-c", HOLD]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield process
        finally:
            process.kill()


def _find_files(directory: Path) -> set[Path]:
    return {*directory.glob(f"{worker_metrics.PREFIX}*")}


def test_a_directory_is_removed_after_its_service_was_killed_and_not_before(
    directory: Path,
) -> None:
    with _service() as running, _service() as killed:
        both = _find_files(directory)
        assert len(both) == 2
        killed.kill()
        killed.wait()
        assert _find_files(directory) == both  # it had no time to remove it
        with worker_metrics.create_metrics_directory():
            left = _find_files(directory)
            assert len(left & both) == 1
            assert len(left) == 2
        running.communicate(b"\n")
        assert running.returncode == 0
    assert not _find_files(directory)


def test_old_directory_without_a_lock_is_removed(directory: Path) -> None:
    new, old = directory / f"{worker_metrics.PREFIX}new", directory / f"{worker_metrics.PREFIX}old"
    for path in (new, old):
        path.mkdir()
    os.utime(old, (0, 0))
    other = directory / f"{worker_metrics.PREFIX}link"
    (directory / "elsewhere").mkdir()
    os.utime(directory / "elsewhere", (0, 0))
    other.symlink_to(directory / "elsewhere")
    worker_metrics.remove_leftover_directories()
    assert _find_files(directory) == {new, other}
    assert (directory / "elsewhere").is_dir()
