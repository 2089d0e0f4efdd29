"""`saldo` in a process of its own, as a shell starts it."""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path
from typing import Any

from harness.program import forks
from harness.program.environment import copy_environment

SECONDS_MAX = 120


@dataclass(frozen=True)
class CommandResult:
    """The result of a finished command."""

    code: int
    output: str
    errors: str

    @property
    def json(self) -> Any:
        """The document that `--json` printed."""
        return json.loads(self.output)

    @property
    def lines(self) -> list[Any]:
        """The documents that `--json` printed, one per line."""
        return [json.loads(line) for line in self.output.splitlines()]


class Program:
    """The program with the given settings. Settings from the environment are not used."""

    def __init__(self, **settings: str) -> None:
        # The terminal is wide enough for every column, and has no colours.
        self.environment = copy_environment() | {"TZ": "UTC", "COLUMNS": "160"} | settings

    def __call__(
        self, *arguments: str, code: int = 0, directory: Path | None = None, **settings: str
    ) -> CommandResult:
        """Run a command to its end, and check its exit code."""
        done = forks.run(
            arguments,
            cwd=directory,
            env=self.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=SECONDS_MAX,
        )
        assert done.returncode == code, done.stdout + done.stderr
        assert "Traceback" not in done.stderr, done.stderr
        return CommandResult(done.returncode, done.stdout, done.stderr)

    def start(self, *arguments: str, directory: Path | None = None) -> subprocess.Popen[str]:
        """Start a command, which the caller must end."""
        return forks.start(
            arguments,
            cwd=directory,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def user(self, name: str) -> str:
        """Create a user and return the id."""
        return str(self("user", "create", name, "--json").json["id"])

    def balance(self, user_id: str) -> Decimal:
        """Return the user's current balance."""
        return Decimal(self("balance", user_id, "--json").json["balance"])
