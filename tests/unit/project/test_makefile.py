"""The Makefile: the shell can read the commands of every target, whatever is set up already."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

TARGETS = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)


def test_the_targets_are_found() -> None:
    assert {"serve", "test", "lint", "bench", "bench-full", "release"} <= set(TARGETS)


@pytest.mark.parametrize("target", TARGETS)
def test_the_shell_can_read_the_commands(target: str) -> None:
    commands = subprocess.run(
        ["make", "--no-print-directory", "--dry-run", "--always-make", target],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    read = subprocess.run(["sh", "-n"], input=commands, capture_output=True, text=True, check=False)
    assert read.returncode == 0, f"{read.stderr}\n{commands}"
    # GNU Make splits the arguments of $(call) at commas, also within quotes.
    assert re.findall(r"-e '\.\[[^\]']*$", commands, re.MULTILINE) == []
