"""A service as users run it: a process of its own, `saldo serve`, on a free port."""

from __future__ import annotations

import os
import re
import signal
import ssl
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx

from harness.postgresql import data_directories
from harness.program import forks
from harness.program.environment import copy_environment

READY_SECONDS_MAX = 60
OUTPUT_SECONDS_MAX = 60

COMMAND = (*forks.COMMAND, "serve")
"""The command that starts a service in a Python process of its own, as users do."""


class ServiceProcess:
    """The process of a service, its address and its output."""

    def __init__(
        self,
        directory: Path,
        verify: ssl.SSLContext | bool = True,
        command: Sequence[str] | None = None,
        /,
        **settings: str,
    ) -> None:
        """Start the process.

        Args:
            verify: how the service's certificate is verified, if the service uses TLS.
            command: the command that starts the service. None means that the service is forked from a process that has
                loaded the program (`harness.program.forks`).
        """
        self._verify = verify
        self._log = directory / f"serve-{uuid4()}.log"
        environment = copy_environment() | {"SALDO_PORT": "0", "TZ": "UTC"} | settings
        if not _has_as_root(settings.get("PYTHONPATH")):
            del environment["SALDO_AS_ROOT"]
        with self._log.open("wb") as log:
            options: dict[str, Any] = {
                "cwd": directory,
                "env": environment,
                "stdout": log,
                "stderr": log,
                "start_new_session": True,
            }
            self.process: subprocess.Popen[bytes] = (
                forks.start(["serve"], **options)
                if command is None
                else subprocess.Popen(command, **options)
            )
        self.url = ""

    def wait_until_ready(self) -> None:
        """Wait until the service is ready. Fail with its output if it ends before, or is not ready in time."""
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

    def wait_for_output(self, text: str) -> None:
        """Wait until the output contains a text. Fail with the output if the service ends before, or the text does not
        appear in time."""
        deadline = time.monotonic() + OUTPUT_SECONDS_MAX
        while text not in self.output():
            assert self.process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.05)

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send the signal, wait for the end, and return the exit code."""
        if self.process.poll() is None:
            os.kill(self.process.pid, number)
        return self.process.wait(60)


def _has_as_root(earlier: str | None) -> bool:
    """Return whether the code that is run has the setting `as_root`.

    Args:
        earlier: The directory with the code of an earlier commit; None for the current code. A service rejects settings
            that it doesn't know.
    """
    # The search covers all modules, because an earlier commit may have its settings in another one.
    return earlier is None or any(
        "    as_root: bool" in path.read_text("utf-8")
        for path in Path(earlier, "saldo").rglob("*.py")
    )


@contextmanager
def run_service_process(
    directory: Path,
    verify: ssl.SSLContext | bool = True,
    command: Sequence[str] | None = None,
    /,
    **settings: str,
) -> Iterator[ServiceProcess]:
    """Yield a service that is ready, and end it afterwards.

    Unless a command is given, the cluster of an embedded PostgreSQL is created in advance
    (`harness.postgresql.data_directories`).
    """
    if command is None:
        data_directories.create_for_service(directory, settings)
    running = ServiceProcess(directory, verify, command, **settings)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()


def run_unforked_service(
    directory: Path, /, **settings: str
) -> AbstractContextManager[ServiceProcess]:
    """Yield a service in a Python process of its own; on an empty directory it creates its cluster itself."""
    return run_service_process(directory, True, COMMAND, **settings)
