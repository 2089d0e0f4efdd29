"""A temporary service that one command starts and stops. It uses the data directory of the settings."""

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

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.client.connection_options import create_tls_context

START_SECONDS_MAX: Final = 120.0
"""Timeout for the start. A first start creates the database, and a start after a crash replays the WAL."""

STOP_SECONDS_MAX: Final = 60.0
"""Timeout for the stop. The service limits the duration of its own shutdown, so the timeout is reached only if the
service hangs."""

_LISTENING: Final = re.compile(r'listening on (https?://[^\s"]+)')


class ChildService(NamedTuple):
    """The URL of the service, and the key that was generated for it."""

    url: str
    key: str


@contextmanager
def run_child_service(environment: Mapping[str, str] | None = None) -> Iterator[ChildService]:
    """Start `saldo serve` on a free port of this machine, and stop it when the block ends.

    Args:
        environment: Settings that replace those of this process.

    Raises:
        CommandError: The service does not start. The message contains the last line of its output.
    """
    key = secrets.token_urlsafe(32)
    settings = {
        "SALDO_HOST": "127.0.0.1",
        "SALDO_PORT": "0",
        "SALDO_LOG_LEVEL": "info",
        "SALDO_ADMIN_KEY": key,
        # TLS is not needed, because only this command calls the service, and it does so on this machine.
        "SALDO_TLS_CERTIFICATE_FILE": "",
        "SALDO_TLS_KEY_FILE": "",
        # Root can run the command without further settings. The command already runs as root, and its service listens
        # on this machine only, requires a key, and ends with the command.
        "SALDO_AS_ROOT": "true",
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
                # The service must not receive Ctrl-C. The command itself stops the service at the end.
                start_new_session=True,
            )
        try:
            yield ChildService(_wait_until_ready(process, log), key)
        finally:
            _stop_process(process)


def _wait_until_ready(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + START_SECONDS_MAX
    while time.monotonic() < deadline:
        if process.poll() is not None:
            lines = log.read_text(errors="replace").strip().splitlines() or ["it printed nothing"]
            reason = lines[-1].removeprefix("saldo: ")
            raise CommandError(
                f"the temporary service failed to start: {reason}", ExitCode.UNAVAILABLE
            )
        found = _LISTENING.search(log.read_text(errors="replace"))
        if found is not None:
            with suppress(httpx.TransportError):
                ready = httpx.get(
                    f"{found[1]}/healthz/ready",
                    trust_env=False,
                    verify=create_tls_context(found[1]),
                )
                if ready.status_code == 200:
                    return found[1]
        time.sleep(0.05)
    raise CommandError(
        f"the temporary service was not ready within {START_SECONDS_MAX:g} s", ExitCode.UNAVAILABLE
    )


def _stop_process(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_SECONDS_MAX)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
