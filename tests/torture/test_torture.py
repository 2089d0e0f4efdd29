"""The short run of `make torture`: every kind of fault once, and no fault found in what the clients saw."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from harness.prerequisites import PROMISED
from torture import nemesis
from torture.faults.all import KINDS
from torture.history import OPERATIONS

ROOT = Path(__file__).parents[2]

pytestmark = [
    pytest.mark.long,
    pytest.mark.timeout(400),
    pytest.mark.usefixtures("rabbitmq_program"),
]


def torture(directory: Path, *arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "torture", "--directory", str(directory), *arguments],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def list_mounts() -> set[str]:
    """Return the file systems that a run has mounted."""
    lines = Path("/proc/mounts").read_text().splitlines()
    return {line.split()[1] for line in lines if line.startswith("saldo-torture ")}


def test_what_clients_saw_holds_through_every_kind_of_fault(tmp_path: Path) -> None:
    running = torture(tmp_path, "--seconds", "60", "--seed", "every kind once")
    output, _ = running.communicate()
    assert running.returncode == 0, output
    assert output.startswith("seed every kind once")
    happened = {each.kind for each in nemesis.load(tmp_path)}
    left_out = {kind for kind in KINDS if f"left out: {kind}: " in output}
    assert happened | left_out == KINDS.keys()
    if "faketime" in PROMISED:
        assert not [kind for kind in left_out if "clock" in kind]


def test_interrupted_run_leaves_nothing_behind(tmp_path: Path) -> None:
    before = list_mounts()
    faults = "service paused,postgresql paused,rabbitmq paused,disk full"
    running = torture(tmp_path, "--seed", "interrupted", "--faults", faults)
    assert running.stdout is not None
    for line in running.stdout:
        if "paused" in line:
            break
    began = list_mounts() - before
    os.kill(running.pid, signal.SIGINT)
    output, _ = running.communicate(timeout=120)
    assert running.returncode == 130, output
    assert (tmp_path / OPERATIONS).stat().st_size > 0
    assert not began & list_mounts()
    assert not [each for each in began if Path(each).exists()]
