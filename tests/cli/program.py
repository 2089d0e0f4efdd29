"""`saldo` in a process of its own, as a shell starts it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

COMMAND = (sys.executable, "-m", "saldo")

SECONDS_MAX = 120


@dataclass(frozen=True)
class Ended:
    """How a command has ended."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """What `--json` printed: one document."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[Any]:
        """What `--json` printed: a document a line."""
        return [json.loads(line) for line in self.output.splitlines()]


class Program:
    """The program with some settings, and none of the machine's."""

    def __init__(self, **settings: str) -> None:
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SALDO_")}
        # Wide enough for every column, and without colours.
        self.environment = inherited | {"TZ": "UTC", "COLUMNS": "160"} | settings

    def __call__(
        self, *arguments: str, code: int = 0, directory: Path | None = None, **settings: str
    ) -> Ended:
        """Runs a command to its end, and holds its exit code against what is expected."""
        done = subprocess.run(
            [*COMMAND, *arguments],
            cwd=directory,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=False,
            timeout=SECONDS_MAX,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return Ended(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, directory: Path | None = None) -> subprocess.Popen[str]:
        """Starts a command, which the caller ends."""
        return subprocess.Popen(
            [*COMMAND, *arguments],
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def user(self, name: str) -> str:
        """The id of a user made now."""
        return str(self("user", "create", name, "--json").json["id"])

    def balance(self, user_id: str) -> Decimal:
        """Of now."""
        return Decimal(self("balance", user_id, "--json").json["balance"])
