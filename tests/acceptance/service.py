"""A service as users run it: a process of its own, `saldo serve`, on a free port."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx

READY_SECONDS_MAX = 60

COMMAND = (sys.executable, "-m", "saldo", "serve")


class ServiceProcess:
    """The process, its address and what it has printed."""

    def __init__(
        self,
        directory: Path,
        verify: ssl.SSLContext | bool = True,
        command: Sequence[str] = COMMAND,
        /,
        **settings: str,
    ) -> None:
        """
        Args:
            verify: how its certificate is checked, if it speaks TLS.
            command: what starts it.
        """
        self._verify = verify
        self._log = directory / f"serve-{uuid4()}.log"
        inherited = {k: v for k, v in os.environ.items() if not k.startswith("SALDO_")}
        with self._log.open("wb") as log:
            self.process = subprocess.Popen(
                command,
                cwd=directory,
                env=inherited | {"SALDO_PORT": "0", "TZ": "UTC"} | settings,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.url = ""

    def wait_until_ready(self) -> None:
        """Returns when it answers; fails with its output if it ends before."""
        deadline = time.monotonic() + READY_SECONDS_MAX
        while time.monotonic() < deadline:
            assert self.process.poll() is None, self.output()
            found = re.search(r'listening on (https?://[^\s"]+)', self.output())
            if found:
                self.url = found[1]
                try:
                    if (
                        httpx.get(f"{self.url}/healthz/ready", verify=self._verify).status_code
                        == 200
                    ):
                        return
                except httpx.TransportError:
                    pass
            time.sleep(0.05)
        raise AssertionError(f"not ready: {self.output()}")

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Sends the signal and waits; the exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(60)


@contextmanager
def service(
    directory: Path,
    verify: ssl.SSLContext | bool = True,
    command: Sequence[str] = COMMAND,
    /,
    **settings: str,
) -> Iterator[ServiceProcess]:
    """A service that is ready, and ended at the end."""
    running = ServiceProcess(directory, verify, command, **settings)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()
