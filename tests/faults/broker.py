"""A RabbitMQ of the tests' own, to be killed and started: Debian's program, another node, other ports."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

START_SECONDS_MAX = 90

_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)
"""The script itself: Debian's wrapper insists on an account."""


def find() -> str | None:
    """The program, if it is installed."""
    found = next((path for path in _PROGRAMS if Path(path).exists()), None)
    return found or shutil.which("rabbitmq-server")


class Broker:
    """One node, with the stream plugin, on ports of its own."""

    def __init__(self, program: str, directory: Path) -> None:
        self._program = program
        self._directory = directory
        self._node = f"saldo-{uuid4().hex[:8]}@localhost"
        self.port, self.stream_port, self._distribution_port = _free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "rabbitmq.log"
        (directory / "plugins").write_text("[rabbitmq_stream].\n")
        (directory / "rabbitmq.conf").write_text(
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"stream.listeners.tcp.1 = 127.0.0.1:{self.stream_port}\n"
            "stream.advertised_host = 127.0.0.1\n"
            "disk_free_limit.absolute = 50MB\n"
        )

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}/"

    @property
    def stream_url(self) -> str:
        return f"rabbitmq-stream://guest:guest@127.0.0.1:{self.stream_port}/"

    def start(self) -> None:
        """Starts it, on what it had before, and waits until it takes connections."""
        directory = self._directory
        environment = os.environ | {
            "HOME": str(directory),  # where Erlang keeps the cookie of its nodes
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program],
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (_takes_connections(self.port) and _takes_connections(self.stream_port)):
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def kill(self) -> None:
        """As a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
            # The one we started is a script; its server may take a moment longer, and must not be taken for the next.
            while _takes_connections(self.port) or _takes_connections(self.stream_port):
                time.sleep(0.05)

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@contextmanager
def broker(program: str, directory: Path) -> Iterator[Broker]:
    """A broker that runs, and is gone afterwards."""
    running = Broker(program, directory)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def _free_ports(count: int) -> list[int]:
    sockets = [socket.socket() for _ in range(count)]
    try:
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]
    finally:
        for each in sockets:
            each.close()


def _takes_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
