"""A service of a command's own, on the data directory of the settings, for as long as the command takes."""

from __future__ import annotations

import os
import re
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final, NamedTuple

import httpx

from saldo.cli.exits import CommandError, Exit

START_SECONDS_MAX: Final = 120.0
"""A first start makes the database; one after a crash replays what was not written out."""

END_SECONDS_MAX: Final = 60.0
"""The service bounds its own stop; this is for one that hangs."""

_LISTENING: Final = re.compile(r'listening on (https?://[^\s"]+)')


class Child(NamedTuple):
    """Where it answers, and the key that was made up for it."""

    url: str
    key: str


@contextmanager
def child_service(environment: Mapping[str, str] | None = None) -> Iterator[Child]:
    """Starts `saldo serve` on a free port of this machine, and ends it.

    Args:
        environment: settings other than this process's.

    Raises:
        CommandError: it does not start; with the last thing it said.
    """
    key = secrets.token_urlsafe(32)
    settings = {
        "SALDO_HOST": "127.0.0.1",
        "SALDO_PORT": "0",
        "SALDO_LOG_LEVEL": "info",
        "SALDO_ADMIN_KEY": key,
        # It is asked by us alone, at an address that no certificate names.
        "SALDO_TLS_CERTIFICATE_FILE": "",
        "SALDO_TLS_KEY_FILE": "",
    }
    with tempfile.TemporaryDirectory(prefix="saldo-service-") as directory:
        log = Path(directory) / "log"
        with log.open("wb") as file:
            process = subprocess.Popen(
                [sys.executable, "-m", "saldo", "serve"],
                env={**os.environ, **(environment or {}), **settings},
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                # Ctrl-C is for the command: it ends the service when it is done with it.
                start_new_session=True,
            )
        try:
            yield Child(_ready(process, log), key)
        finally:
            _end(process)


def _ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it says nothing"]
            reason = lines[-1].removeprefix("saldo: ")
            raise CommandError(f"the service does not start: {reason}", Exit.NOT_REACHED)
        found = _LISTENING.search(log.read_text(errors="replace"))
        if found is not None:
            with suppress(httpx.TransportError):
                if httpx.get(f"{found[1]}/healthz/ready").status_code == 200:
                    return found[1]
        time.sleep(0.05)
    raise CommandError("the service takes too long to start", Exit.NOT_REACHED)


def _end(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(END_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
