"""Two PostgreSQL servers in processes of their own: a primary, and a synchronous standby.

Where no fault needs the standby, there is only the primary.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import psutil
import psycopg

from saldo.store.embedded import EmbeddedServer
from saldo.store.embedded.binaries import Programs
from saldo.store.embedded.system_account import ServerAccount
from torture.world.clocks import Clock
from torture.world.disks import Disk

SECONDS_MAX = 60
"""Time limit of every wait in this module, in seconds."""

# The program of a server's supervisor. It can be killed together with the server, so that nothing restarts the server.
# Only the server gets the environment, because libfaketime breaks Python's time.sleep.
_SERVER = """
import json, os, sys
from pathlib import Path
from saldo.store.embedded import EmbeddedServer

os.environ.update(json.loads(sys.argv[2]))
server = EmbeddedServer(Path(sys.argv[1]))
server.start()
print("started", flush=True)
sys.stdin.read()
server.stop()
"""


class Node:
    """One server: its disk, its clock, its processes."""

    def __init__(self, directory: Path, name: str) -> None:
        self.name = name
        self.disk = Disk(directory / name)
        self.clock = Clock(directory / f"{name}.clock")
        self._log = directory / f"{name}.log"
        self._process: subprocess.Popen[str] | None = None
        self.server = EmbeddedServer(self.disk.directory)

    def start(self) -> None:
        """Start the server and wait until it accepts connections."""
        environment = json.dumps(self.clock.open())
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, self.disk.directory, environment],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        assert self._process.stdout is not None
        if self._process.stdout.readline() != "started\n":
            raise RuntimeError(f"{self.name}: {self._log.read_text(errors='replace')[-2000:]}")
        assert self.server.attach_to_running_server()

    @property
    def postmaster(self) -> int | None:
        """The process id of the server's first process; None if it doesn't run."""
        with suppress(OSError, ValueError, IndexError):
            pid = int((self.server.cluster / "postmaster.pid").read_text().split()[0])
            if psutil.pid_exists(pid):
                return pid
        return None

    @property
    def processes(self) -> list[int]:
        """The ids of all processes of the server, the first process first."""
        pid = self.postmaster
        if pid is None:
            return []
        with suppress(psutil.NoSuchProcess):
            children = psutil.Process(pid).children(recursive=True)
            return [pid, *(child.pid for child in children)]
        return []

    @property
    def socket(self) -> Path:
        """The path of the server's Unix socket."""
        return self.server.socket_dir / ".s.PGSQL.5432"

    def signal(self, number: int, *, whole: bool = False) -> None:
        """Send a signal to the server's first process, or to all its processes if `whole` is true. The supervisor
        restarts the first process if it dies."""
        for pid in self.processes[: None if whole else 1]:
            with suppress(ProcessLookupError):
                os.kill(pid, number)

    def kill(self) -> None:
        """Kill all processes at once, the supervisor first, as when a machine loses power."""
        if self._process is None:
            return
        self._process.kill()
        self._process.wait()
        self._close_pipes()
        deadline = time.monotonic() + SECONDS_MAX
        while left := self.processes:
            assert time.monotonic() < deadline, left
            self.signal(signal.SIGKILL, whole=True)
            time.sleep(0.01)

    def stop(self) -> None:
        """Stop the server in order, or kill it if that takes too long."""
        if self._process is None:
            return
        self.signal(signal.SIGCONT, whole=True)
        assert self._process.stdin is not None
        with suppress(OSError):
            self._process.stdin.close()
        try:
            self._process.wait(SECONDS_MAX)
            self._close_pipes()
        except subprocess.TimeoutExpired:
            self.kill()

    def follow(self, primary: Node) -> None:
        """Replace the data by a copy of the primary's, and start as its streaming standby."""
        cluster = self.server.cluster
        shutil.rmtree(cluster, ignore_errors=True)
        cluster.mkdir(mode=0o700)
        account = ServerAccount.for_server()
        account.chown(cluster)
        Programs(account, cluster, primary.server.socket_dir).run(
            "pg_basebackup",
            f"--dbname={primary.server.superuser_url}",
            f"--pgdata={cluster}",
            *("--checkpoint=fast", "--write-recovery-conf"),
        )
        # A promoted standby must not wait for a standby until it has one of its own.
        with (cluster / "postgresql.auto.conf").open("a") as settings:
            settings.write("synchronous_standby_names = ''\n")
            # The default is 5 s, during which nothing can be committed after a short absence of the primary.
            settings.write("wal_retrieve_retry_interval = '200ms'\n")
            # Without this, a standby that was away while WAL files were switched can never catch up, and commits wait.
            settings.write("wal_keep_size = '128MB'\n")
        self.start()

    def _close_pipes(self) -> None:
        assert self._process is not None
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None
            with suppress(OSError):
                pipe.close()
        self._process = None


class ServerPair:
    """A primary and its standby, if it has one."""

    def __init__(self, directory: Path, *, standby: bool) -> None:
        self.nodes = tuple(Node(directory, name) for name in ("a", "b")[: 2 if standby else 1])
        self.primary = self.nodes[0]
        self._standby = self.nodes[1] if standby else None

    @property
    def standby(self) -> Node:
        """The standby. The pair must consist of two servers."""
        assert self._standby is not None
        return self._standby

    def start(self) -> None:
        """Start both servers, the standby following the primary."""
        for node in self.nodes:
            node.disk.open()
        self.primary.start()
        if len(self.nodes) > 1:
            self.attach_standby()

    def stop(self) -> None:
        """Stop both servers, the primary first, and release their disks and clocks."""
        for node in sorted(self.nodes, key=lambda node: node is not self.primary):
            try:
                node.stop()
            finally:
                node.disk.close()
                node.clock.close()

    def attach_standby(self) -> None:
        """Make a new standby, and make every commit wait for it from then on."""
        self.standby.follow(self.primary)
        with psycopg.connect(self.primary.server.superuser_url, autocommit=True) as admin:
            admin.execute("ALTER SYSTEM SET synchronous_standby_names = '*'")
            admin.execute("SELECT pg_reload_conf()")
        self.wait_until_synchronous()

    def wait_until_synchronous(self) -> None:
        """Wait until the standby has received all visible commits of the primary, and new commits wait for the
        standby."""
        query = (
            "SELECT count(*) FROM pg_stat_replication "
            "WHERE sync_state = 'sync' AND flush_lsn >= %s::pg_lsn"
        )
        deadline = time.monotonic() + SECONDS_MAX
        position: str | None = None
        while time.monotonic() < deadline:
            with (
                suppress(psycopg.Error),
                psycopg.connect(
                    self.primary.server.superuser_url, autocommit=True, connect_timeout=5
                ) as admin,
            ):
                if position is None:
                    row = admin.execute("SELECT pg_current_wal_lsn()::text").fetchone()
                    assert row is not None
                    position = row[0]
                if admin.execute(query, (position,)).fetchone() == (1,):
                    return
            time.sleep(0.05)
        raise RuntimeError("the standby does not follow")

    def fail_over(self) -> None:
        """Lose the primary for ever, and promote the standby in its place."""
        self.primary.kill()
        with psycopg.connect(self.standby.server.superuser_url, autocommit=True) as admin:
            assert admin.execute("SELECT pg_promote()").fetchone() == (True,)
        self.primary, self._standby = self.standby, self.primary
