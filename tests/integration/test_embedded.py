"""The embedded PostgreSQL by itself."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import SetUpError


@contextmanager
def started(directory: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def shown(server: EmbeddedServer, setting: str) -> str:
    with psycopg.connect(server.superuser_url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert row is not None
    return str(row[0])


def test_it_listens_on_a_socket_of_its_own_only_and_is_tuned(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with started(directory) as server:
        assert shown(server, "listen_addresses") == ""
        assert shown(server, "jit") == "off"
        assert shown(server, "fsync") == "on"
        for private in (directory / "socket", directory / "postgresql-18"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["with space", "it's", "Сальдо", "deep/" + "x" * 120])
def test_any_directory_will_do(tmp_path: Path, name: str) -> None:
    with started(tmp_path / name) as server:
        assert shown(server, "jit") == "off"


def test_a_second_server_in_the_directory_is_refused(tmp_path: Path) -> None:
    with started(tmp_path), pytest.raises(SetUpError, match=f"in use by process {os.getpid()}"):
        EmbeddedServer(tmp_path).start()


def test_a_file_in_place_of_the_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(SetUpError, match="data directory"):
        EmbeddedServer(tmp_path / "data").start()


def test_a_cluster_of_another_version_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "postgresql-18").mkdir()
    (tmp_path / "postgresql-18/PG_VERSION").write_text("16\n")
    with pytest.raises(SetUpError, match="is of PostgreSQL 16"):
        EmbeddedServer(tmp_path).start()


def test_an_unfinished_creation_is_done_again(tmp_path: Path) -> None:
    (tmp_path / "postgresql-18.unfinished").mkdir()
    (tmp_path / "postgresql-18.unfinished/PG_VERSION").write_text("18\n")
    with started(tmp_path) as server:
        assert shown(server, "jit") == "off"


def test_a_stale_pid_file_that_names_another_process_does_not_fool_it(tmp_path: Path) -> None:
    with started(tmp_path):
        pid_file = tmp_path / "postgresql-18/postmaster.pid"
        text = pid_file.read_text()
    pid_file.write_text(text.replace(text.split()[0], str(os.getpid()), 1))
    with started(tmp_path) as server:
        assert server.pid != os.getpid()


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        with psycopg.connect(server.superuser_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        before = server.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        while server.pid == before or not _answers(server):
            pass
        with psycopg.connect(server.superuser_url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def _answers(server: EmbeddedServer) -> bool:
    try:
        psycopg.connect(server.superuser_url, connect_timeout=2).close()
    except psycopg.OperationalError:
        return False
    return True


def test_the_server_of_a_killed_process_is_taken_over(tmp_path: Path) -> None:
    program = (
        "import os, signal, sys; from pathlib import Path; "
        "from saldo.store.embedded import EmbeddedServer; "
        "EmbeddedServer(Path(sys.argv[1])).start(); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program, str(tmp_path)], check=False)
    assert done.returncode == -signal.SIGKILL
    with started(tmp_path) as server:
        assert shown(server, "jit") == "off"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_other_users_can_not_connect(tmp_path: Path) -> None:
    with started(tmp_path) as server:
        program = "import os, sys, psycopg; os.setuid(65534); psycopg.connect(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", program, server.superuser_url],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Permission denied" in done.stderr
