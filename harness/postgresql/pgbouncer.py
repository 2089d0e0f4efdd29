"""A pgbouncer for tests, between clients and a server, over Unix sockets."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from harness import prerequisites
from saldo.store.embedded.system_account import ServerAccount

READY_SECONDS_MAX = 30

KEEPS_STATEMENTS = (1, 21)
"""The first version of pgbouncer that supports prepared statements in transaction mode."""


def find() -> str | None:
    """Return the path of pgbouncer, or None if it is not installed. Debian installs it outside of users' PATH."""
    return prerequisites.find_program(
        "pgbouncer", "pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin:/usr/local/sbin"
    )


def read_version(program: str) -> tuple[int, ...]:
    """Return the version of pgbouncer."""
    done = subprocess.run([program, "--version"], check=True, capture_output=True, text=True)
    found = re.search(r"(\d+)\.(\d+)", done.stdout + done.stderr)
    assert found is not None, done.stdout
    return int(found[1]), int(found[2])


class Pgbouncer:
    """The process of pgbouncer, which can be killed and restarted at the same address."""

    def __init__(self, program: str, directory: Path, server_url: str, **options: object) -> None:
        self._program = program
        self._directory = directory
        self._account = ServerAccount.for_server()
        self._process: subprocess.Popen[bytes] | None = None
        server = psycopg.conninfo.conninfo_to_dict(server_url)
        database = f"host='{server['host']}' port={server['port']} dbname={server['dbname']}"
        settings = {
            "listen_port": 6432,
            "unix_socket_dir": directory,
            "auth_type": "trust",
            "auth_file": directory / "users.txt",
            "admin_users": "saldo",
            "logfile": directory / "pgbouncer.log",
            "pidfile": directory / "pgbouncer.pid",
            "server_login_retry": 0.1,
        } | options
        (directory / "users.txt").write_text('"saldo" ""\n"saldo_owner" ""\n')
        (directory / "pgbouncer.ini").write_text(
            f"[databases]\nsaldo = {database}\n[pgbouncer]\n"
            + "".join(f"{name} = {value}\n" for name, value in settings.items())
        )
        for path in (directory, directory / "users.txt", directory / "pgbouncer.ini"):
            self._account.chown(path)

    def url(self, role: str = "saldo", database: str = "saldo") -> str:
        """Return a connection string through pgbouncer."""
        return f"postgresql://{role}@/{database}?host={quote(str(self._directory))}&port=6432"

    def start(self) -> None:
        """Start the process and wait until it answers."""
        prefix = self._account.build_command_prefix([self._directory])
        self._process = subprocess.Popen(
            [*prefix, self._program, "--quiet", str(self._directory / "pgbouncer.ini")],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while not self._answers():
            log = self._directory / "pgbouncer.log"
            written = log.read_text() if log.exists() else "nothing was written"
            assert self._process.poll() is None, written
            assert time.monotonic() < deadline, written

    def end(self, number: int = signal.SIGTERM) -> None:
        """End the process and wait for it."""
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(READY_SECONDS_MAX)
            self._process = None

    def _answers(self) -> bool:
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


@contextmanager
def run_pgbouncer(program: str, server_url: str, **options: object) -> Iterator[Pgbouncer]:
    """Yield a running pgbouncer, and end it afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="saldo-test-"))  # short, because it contains a socket
    try:
        pgbouncer = Pgbouncer(program, directory, server_url, **options)
        pgbouncer.start()
        try:
            yield pgbouncer
        finally:
            pgbouncer.end(signal.SIGKILL)
    finally:
        shutil.rmtree(directory)
