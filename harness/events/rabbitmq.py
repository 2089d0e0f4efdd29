"""A RabbitMQ node for tests, which can be killed and restarted. It is Debian's program on other ports."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import trustme

from harness import prerequisites
from harness.ports import find_free_ports

START_SECONDS_MAX = 90

_PROGRAMS = ("/usr/lib/rabbitmq/bin/rabbitmq-server", "rabbitmq-server")
"""Paths of the server's own script. Debian's wrapper is not used, because it runs only under certain accounts."""


def find() -> str | None:
    """Return the path of the program, or None if it is not installed."""
    found_at = (prerequisites.find_program(path, "rabbitmq-server") for path in _PROGRAMS)
    return next(filter(None, found_at), None)


class Broker:
    """One node with the stream plugin, on ports of its own."""

    def __init__(self, program: str, directory: Path, *, tls: bool = False) -> None:
        """Create the node; it is started by `start`.

        Args:
            tls: accept only TLS, with a certificate for localhost from an authority of its own (`ca_file`).
        """
        self._program = program
        self._tls = tls
        self.ca_file = directory / "ca.pem"
        self._directory = directory
        self._node = f"saldo-{uuid4().hex[:8]}@localhost"
        self.port, self.stream_port, self._distribution_port = find_free_ports(3)
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

    @property
    def _environment(self) -> dict[str, str]:
        directory = self._directory
        return os.environ | {
            "HOME": str(directory),  # where Erlang keeps the cookie of its nodes
            "RABBITMQ_NODENAME": self._node,
            "RABBITMQ_CONFIG_FILE": str(directory / "rabbitmq"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(directory / "plugins"),
            "RABBITMQ_MNESIA_BASE": str(directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(directory / "log"),
            "RABBITMQ_DIST_PORT": str(self._distribution_port),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "+S 2:2 +sbwt none",
        }

    def start(self) -> None:
        """Start the node with the data it had before, and wait until it accepts connections."""
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._program],
                env=self._environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        deadline = time.monotonic() + START_SECONDS_MAX
        while not (_takes_connections(self.port) and _takes_connections(self.stream_port)):
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, self.output()
            time.sleep(0.1)

    def control(self, *arguments: str) -> None:
        """Run `rabbitmqctl` on the node."""
        program = str(Path(self._program).with_name("rabbitmqctl"))
        environment = self._environment | {"RABBITMQ_CTL_ERL_ARGS": "+S 1:1 +sbwt none"}
        subprocess.run([program, *arguments], env=environment, check=True, capture_output=True)

    def kill(self) -> None:
        """Kill the node, as a power cut would."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)
            self._process = None
            # The process that was started is a script, and its server may end a moment later. Without this wait, the
            # old server could be mistaken for the next one.
            while _takes_connections(self.port) or _takes_connections(self.stream_port):
                time.sleep(0.05)

    def signal(self, number: int) -> None:
        """Send a signal to all processes of the node."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, number)

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]


@contextmanager
def run_broker(program: str, directory: Path, *, tls: bool = False) -> Iterator[Broker]:
    """Yield a running broker, and kill it afterwards."""
    running = Broker(program, directory, tls=tls)
    running.start()
    try:
        yield running
    finally:
        running.kill()


def _takes_connections(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=1):
            return True
    except OSError:
        return False
