"""Commands that run outside of the repository and of the tests' environment, as a user runs them."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

SECONDS_MAX = 280


def run_outside(
    *command: str, directory: Path, without: Sequence[str] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a command to its end, and return its exit code and its output, which includes its errors.

    Args:
        command: The program and its arguments.
        directory: The working directory.
        without: Names of further variables that the command does not inherit. It never inherits Saldo's, Python's and
            those of a virtual environment.
    """
    environment = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("SALDO_", "PYTHON", "VIRTUAL_ENV")) and name not in without
    }
    return subprocess.run(
        command,
        cwd=directory,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        timeout=SECONDS_MAX,
    )
