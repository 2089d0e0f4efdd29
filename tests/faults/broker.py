"""A RabbitMQ of the tests' own, to be killed and started: Debian's program, another node, other ports."""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import trustme

START_SECONDS_MAX = 90

_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server",)
"""The script itself: Debian's wrapper insists on an account."""


def find() -> str | None:
    """The program, if it is installed."""
    found = next((path for path in _PROGRAMS if Path(path).exists()), None)
    return found or shutil.which("rabbitmq-server")


class Broker:
    """One node, with the stream plugin, on ports of its own."""

    def __init__(self, program: str, directory: Path, *, tls: bool = False) -> None:
        """
        Args:
            tls: nothing but TLS, with a certificate for localhost by an authority of its own (`ca_file`).
        """
        self._program = program
        self._tls = tls
        self.ca_file = directory / "ca.pem"
        self._directory = directory
        self._node = f"saldo-{uuid4().hex[:8]}@localhost"
        self.port, self.stream_port, self._distribution_port = free_ports(3)
        self._process: subprocess.Popen[bytes] | None = None
        self._log = directory / "rabbitmq.log"
        (directory / "plugins").write_text("[rabbitmq_stream].\n")
        (directory / "rabbitmq.conf").write_text(
            "stream.advertised_host = 127.0.0.1\ndisk_free_limit.absolute = 50MB\n"
            + (self._tls_listeners() if tls else self._listeners())
        )

    def _listeners(self) -> str:
        return (
            f"listeners.tcp.default = 127.0.0.1:{self.port}\n"
            f"stream.listeners.tcp.1 = 127.0.0.1:{self.stream_port}\n"
        )

    def _tls_listeners(self) -> str:
        authority = trustme.CA()
        authority.cert_pem.write_to_path(self.ca_file)
        issued = authority.issue_cert("localhost")
        issued.private_key_pem.write_to_path(self._directory / "key.pem")
        issued.cert_chain_pems[0].write_to_path(self._directory / "cert.pem")
        return (
            "listeners.tcp = none\nstream.listeners.tcp = none\n"
            f"listeners.ssl.default = 127.0.0.1:{self.port}\n"
            f"stream.listeners.ssl.default = 127.0.0.1:{self.stream_port}\n"
            f"ssl_options.cacertfile = {self.ca_file}\n"
            f"ssl_options.certfile = {self._directory}/cert.pem\n"
            f"ssl_options.keyfile = {self._directory}/key.pem\n"
        )

    @property
    def url(self) -> str:
        scheme, host = ("amqps", "localhost") if self._tls else ("amqp", "127.0.0.1")
        return f"{scheme}://guest:guest@{host}:{self.port}/"

    @property
    def stream_url(self) -> str:
        scheme, host = ("-stream+tls", "localhost") if self._tls else ("-stream", "127.0.0.1")
        return f"rabbitmq{scheme}://guest:guest@{host}:{self.stream_port}/"

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

    def signal(self, number: int) -> None:
        """To all its processes."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@contextmanager
def broker(program: str, directory: Path, *, tls: bool = False) -> Iterator[Broker]:
    """A broker that runs, and is gone afterwards."""
    running = Broker(program, directory, tls=tls)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, all different, which the system gives to no connection of its own choice.

    Else a connection could have the port of who is killed, when that is started again.
    """
    ports: list[int] = []
    while len(ports) < count:
        port = random.randrange(10_000, 32_768)  # below Linux' ip_local_port_range
        with socket.socket() as each, suppress(OSError):
            each.bind(("127.0.0.1", port))
            ports += [port] if port not in ports else []
    return ports


def _takes_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
