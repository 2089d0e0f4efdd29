"""The nodes of a cluster on this machine, which can be killed and restarted."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

READY_SECONDS_MAX = 60


@dataclass(frozen=True)
class Node:
    """A PostgreSQL server of the cluster: its postmaster, and the command that started it."""

    url: str
    pid: int
    command: list[str]
    environment: dict[str, str]
    directory: Path

    @classmethod
    def at(cls, url: str) -> Node:
        """Query the node for its process and files; skip the test if the node is on another machine."""
        with psycopg.connect(url, autocommit=True) as connection:
            row = connection.execute(
                "SELECT pg_read_file('postmaster.pid'), pg_read_file('postmaster.opts'),"
                " current_setting('data_directory')"
            ).fetchone()
        assert row is not None
        lock, options, directory = row
        pid = int(lock.splitlines()[0])
        if not Path(f"/proc/{pid}").is_dir() or not Path(directory, "postmaster.pid").exists():
            pytest.skip("the cluster's nodes are not on this machine")
        pairs = Path(f"/proc/{pid}/environ").read_text().split("\0")
        environment = dict(pair.split("=", 1) for pair in pairs if "=" in pair)
        command = shlex.split(options)
        if "-D" in command:  # the path may be the one seen by another machine
            command[command.index("-D") + 1] = directory
        return cls(url, pid, command, environment, Path(directory))

    def kill(self) -> None:
        """Stop the node at once, with all sessions and without a checkpoint; it then recovers as after a crash."""
        os.kill(self.pid, signal.SIGQUIT)
        deadline = time.monotonic() + READY_SECONDS_MAX
        while (self.directory / "postmaster.pid").exists():
            assert time.monotonic() < deadline, f"{self.directory} is still in use"
            time.sleep(0.02)

    def start(self) -> None:
        """Start the node again with the same data, and wait until it answers."""
        owner = self.directory.stat()
        with (self.directory.parent / "restarted.log").open("ab") as log:
            # The new server is not a child process, because it must outlive the tests.
            subprocess.run(
                ["setsid", "--fork", *self.command],
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                check=True,
                user=owner.st_uid,
                group=owner.st_gid,
                extra_groups=[],
            )
        deadline = time.monotonic() + READY_SECONDS_MAX
        while True:
            try:
                psycopg.connect(self.url, connect_timeout=3).close()
            except psycopg.OperationalError:
                assert time.monotonic() < deadline, f"{self.command} does not answer"
                time.sleep(0.05)
            else:
                return
