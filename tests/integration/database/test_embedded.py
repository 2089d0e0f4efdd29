"""The embedded PostgreSQL by itself."""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psycopg
import pytest

from saldo.cli.connection.service_url_file import read_announced_url
from saldo.store.embedded import ACCOUNT, EmbeddedServer
from saldo.store.embedded.binaries import INHERITED_VARIABLES
from saldo.store.errors import ConfigurationError


@contextmanager
def run_server(directory: Path) -> Iterator[EmbeddedServer]:
    server = EmbeddedServer(directory)
    server.start()
    try:
        yield server
    finally:
        server.stop()


def read_setting(server: EmbeddedServer, setting: str) -> str:
    with psycopg.connect(server.superuser_url) as connection:
        row = connection.execute("SELECT current_setting(%s)", (setting,)).fetchone()
    assert row is not None
    return str(row[0])


def test_embedded_server_listens_only_on_its_own_socket_and_is_tuned(tmp_path: Path) -> None:
    directory = tmp_path / "data"
    with run_server(directory) as server:
        assert read_setting(server, "listen_addresses") == ""
        assert read_setting(server, "jit") == "off"
        assert read_setting(server, "fsync") == "on"
        for private in (directory / "socket", directory / "postgresql-18"):
            assert stat.S_IMODE(private.stat().st_mode) == 0o700


@pytest.mark.parametrize("name", ["with space", "it's", "Сальдо", "deep/" + "x" * 120])
def test_directory_may_have_any_name(tmp_path: Path, name: str) -> None:
    with run_server(tmp_path / name) as server:
        assert read_setting(server, "jit") == "off"


def test_a_second_server_in_the_directory_is_refused(tmp_path: Path) -> None:
    with (
        run_server(tmp_path),
        pytest.raises(ConfigurationError, match=f"in use by process {os.getpid()}"),
    ):
        EmbeddedServer(tmp_path).start()


def test_a_second_start_leaves_the_running_server_alone(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        with pytest.raises(ConfigurationError, match="has already been started"):
            server.start()
        assert read_setting(server, "jit") == "off"


def test_a_file_in_place_of_the_directory_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("")
    with pytest.raises(ConfigurationError, match="data directory"):
        EmbeddedServer(tmp_path / "data").start()


def test_a_cluster_of_another_version_is_one_clear_line(tmp_path: Path) -> None:
    (tmp_path / "postgresql-18").mkdir()
    (tmp_path / "postgresql-18/PG_VERSION").write_text("16\n")
    with pytest.raises(ConfigurationError, match="belongs to PostgreSQL 16"):
        EmbeddedServer(tmp_path).start()


def test_unfinished_creation_is_repeated(tmp_path: Path) -> None:
    (tmp_path / "postgresql-18.unfinished").mkdir()
    (tmp_path / "postgresql-18.unfinished/PG_VERSION").write_text("18\n")
    with run_server(tmp_path) as server:
        assert read_setting(server, "jit") == "off"


def test_stale_pid_file_with_another_process_is_ignored(tmp_path: Path) -> None:
    with run_server(tmp_path):
        pid_file = tmp_path / "postgresql-18/postmaster.pid"
        text = pid_file.read_text()
    pid_file.write_text(text.replace(text.split()[0], str(os.getpid()), 1))
    with run_server(tmp_path) as server:
        assert server.pid != os.getpid()


def test_a_killed_server_comes_back_with_its_data(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
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
    with run_server(tmp_path) as server:
        assert read_setting(server, "jit") == "off"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_other_accounts_cannot_connect(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        program = "import os, sys, psycopg; os.setuid(65534); psycopg.connect(sys.argv[1])"
        done = subprocess.run(
            [sys.executable, "-c", program, server.superuser_url],
            check=False,
            capture_output=True,
            text=True,
        )
        assert done.returncode == 1
        assert "Permission denied" in done.stderr


@pytest.mark.parametrize(
    "name",
    [
        'a "quoted" one',
        "back\\slash",
        "one,two",
        "50%",
        # The test id is explicit, because an id with a surrogate can't be sent between the processes of a run.
        pytest.param(os.fsdecode(b"\xff"), id="not-utf-8"),
    ],
)
def test_directory_name_may_contain_any_character(tmp_path: Path, name: str) -> None:
    with run_server(tmp_path / name) as server:
        socket_dir = Path(str(psycopg.conninfo.conninfo_to_dict(server.service_role_url)["host"]))
        with psycopg.connect(server.service_role_url, connect_timeout=5) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)
    assert not socket_dir.exists() or socket_dir.is_relative_to(tmp_path), "left behind"


def test_stale_pid_file_with_a_process_of_the_same_account_is_ignored(tmp_path: Path) -> None:
    """Give the stale pid to another process of the same account, with which PostgreSQL refuses to start.

    PostgreSQL itself ignores processes of other accounts, and its parent.
    """
    with run_server(tmp_path):
        files = (tmp_path / "postgresql-18/postmaster.pid", tmp_path / "socket/.s.PGSQL.5432.lock")
        texts = [file.read_text() for file in files]
    other = subprocess.Popen([*_as_the_account(), "sleep", "600"])
    try:
        for file, text in zip(files, texts, strict=True):
            file.write_text(text.replace(text.split()[0], str(other.pid), 1))
            owner = file.parent.stat()
            os.chown(file, owner.st_uid, owner.st_gid)
        with run_server(tmp_path) as server:
            assert server.pid != other.pid
        assert other.poll() is None, "the other program was ended"
    finally:
        other.kill()
        other.wait()


def _as_the_account() -> list[str]:
    if os.geteuid() != 0:
        return []
    return ["setpriv", f"--reuid={ACCOUNT}", f"--regid={ACCOUNT}", "--clear-groups"]


@pytest.mark.parametrize("through_a_link", [False, True])
def test_start_waits_for_backends_of_a_killed_server(tmp_path: Path, through_a_link: bool) -> None:
    """Check the wait, because two servers that write to one cluster destroy it."""
    (tmp_path / "data").mkdir()
    directory = tmp_path / "data"
    if through_a_link:
        directory = tmp_path / "link"
        directory.symlink_to(tmp_path / "data")
    program = (
        "import os, signal, sys; from pathlib import Path; "
        "from saldo.store.embedded import EmbeddedServer; s = EmbeddedServer(Path(sys.argv[1])); "
        "s.start(); print(s.pid, flush=True); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(directory)], check=False, stdout=subprocess.PIPE
    )
    connection = psycopg.connect(
        EmbeddedServer(tmp_path / "data").superuser_url, autocommit=True, connect_timeout=5
    )

    def compute() -> None:  # so that it doesn't notice that its server is gone
        with suppress(psycopg.OperationalError):
            connection.execute(
                "DO $$ DECLARE until timestamptz := clock_timestamp() + interval '3 seconds';"
                " BEGIN WHILE clock_timestamp() < until LOOP END LOOP; END $$"
            )

    worker = threading.Thread(target=compute)
    worker.start()
    try:
        _wait_until_it_computes(connection.info.backend_pid, tmp_path / "data")
        os.kill(int(done.stdout), signal.SIGKILL)
        backend = Path(f"/proc/{connection.info.backend_pid}")
        with run_server(directory):
            assert not _runs(backend), "a second server beside a backend of the first"
    finally:
        worker.join()
        connection.close()


def _wait_until_it_computes(backend: int, data_dir: Path) -> None:
    with psycopg.connect(EmbeddedServer(data_dir).superuser_url, autocommit=True) as admin:
        active = "SELECT state = 'active' FROM pg_stat_activity WHERE pid = %s"
        while admin.execute(active, (backend,)).fetchone() != (True,):
            pass


def _runs(process: Path) -> bool:
    try:
        return (process / "stat").read_text().rpartition(")")[2].split()[0] not in {"Z", "X"}
    except (FileNotFoundError, ProcessLookupError):
        return False


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_other_users_are_refused_by_the_socket_and_by_the_server() -> None:
    """Open the directory for all users, so that only the socket and the server can refuse."""
    above = Path(tempfile.mkdtemp(prefix="saldo-test-"))
    above.chmod(0o755)
    try:
        with run_server(above / "data") as server:
            with pytest.raises(psycopg.OperationalError, match="Permission denied"):
                _connect_as("nobody", server.service_role_url)
            (above / "data").chmod(0o755)  # whatever the umask was
            socket = above / "data/socket"
            socket.chmod(0o755)
            (socket / ".s.PGSQL.5432").chmod(0o777)
            for url in (server.service_role_url, server.owner_role_url, server.superuser_url):
                with pytest.raises(psycopg.OperationalError, match="Peer authentication failed"):
                    _connect_as("nobody", url)
    finally:
        shutil.rmtree(above)


def _connect_as(user: str, url: str) -> None:
    os.seteuid(pwd.getpwnam(user).pw_uid)
    try:
        psycopg.connect(url, connect_timeout=5).close()
    finally:
        os.seteuid(0)


def _keep_a_row(server: EmbeddedServer) -> None:
    with psycopg.connect(server.superuser_url) as connection:
        connection.execute("CREATE TABLE kept AS SELECT 1 AS one")


def _read_kept_row(server: EmbeddedServer) -> object:
    with psycopg.connect(server.superuser_url) as connection:
        return connection.execute("SELECT one FROM kept").fetchone()


def test_a_second_start_finds_the_data_and_our_settings(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        _keep_a_row(server)
    (tmp_path / "postgresql-18/saldo.conf").write_text("jit = on\n")
    with run_server(tmp_path) as server:
        assert _read_kept_row(server) == (1,)
        assert read_setting(server, "jit") == "off"


# A process that starts a server, commits a row, prints the server's pid, and is then killed.
_KILLED = """
import os, signal, sys
from pathlib import Path
import psycopg
from saldo.cli.connection.service_url_file import read_announced_url
from saldo.store.embedded import EmbeddedServer

server = EmbeddedServer(Path(sys.argv[1]))
server.start()
with psycopg.connect(server.superuser_url) as connection:
    connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
print(server.pid, server.superuser_url, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""


def _orphan(directory: Path) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", _KILLED, str(directory)], check=False, stdout=subprocess.PIPE
    )
    assert done.returncode == -signal.SIGKILL
    pid, url = done.stdout.decode().split()
    return int(pid), url


def test_an_orphaned_server_is_ended_and_its_data_kept(tmp_path: Path) -> None:
    orphan, _ = _orphan(tmp_path)
    assert _runs(Path(f"/proc/{orphan}"))  # or the test proves nothing
    with run_server(tmp_path) as server:
        assert not _runs(Path(f"/proc/{orphan}"))
        assert _read_kept_row(server) == (1,)


def test_stop_does_not_wait_for_a_restart_to_succeed(tmp_path: Path) -> None:
    with run_server(tmp_path) as server:
        # The server can't become ready again, because after its restart it waits for a promotion for ever.
        (tmp_path / "postgresql-18/standby.signal").touch()
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute("ALTER SYSTEM SET hot_standby = off")
        before = server.pid
        assert before is not None
        os.kill(before, signal.SIGKILL)
        while server.pid in {None, before}:
            pass
        server.stop()  # the test's time limit checks this
        assert server.pid is None


def test_environment_variables_never_lead_to_another_server(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PGHOSTADDR", "192.0.2.1")  # unreachable (RFC 5737)
    with pytest.raises(ConfigurationError, match="PGHOSTADDR"):
        EmbeddedServer(tmp_path).start()
    monkeypatch.delenv("PGHOSTADDR")
    monkeypatch.setenv("PGPORT", "6001")
    with run_server(tmp_path):
        assert (tmp_path / "socket/.s.PGSQL.5432").is_socket()


def test_server_log_contains_no_names_or_amounts_and_is_private(tmp_path: Path) -> None:
    with (
        run_server(tmp_path) as server,
        psycopg.connect(server.superuser_url, autocommit=True) as connection,
    ):
        connection.execute("CREATE TABLE t (name text UNIQUE, balance bigint CHECK (balance >= 0))")
        for statement in (
            b"INSERT INTO t VALUES ('user-7341', 1), ('user-7341', 2)",
            b"INSERT INTO t VALUES ('user-7341', -98765)",
        ):
            with pytest.raises(psycopg.errors.IntegrityError):
                connection.execute(statement)
    log = tmp_path / "postgresql.log"
    assert "ERROR:" in log.read_text()
    assert "user-7341" not in log.read_text()
    assert "98765" not in log.read_text()
    assert stat.S_IMODE(log.stat().st_mode) == 0o600


def test_a_server_that_can_not_start_says_why(tmp_path: Path) -> None:
    with run_server(tmp_path):
        pass
    (tmp_path / "postgresql-18/postgresql.auto.conf").write_text("shared_buffers = '1000TB'\n")
    with pytest.raises(ConfigurationError, match="FATAL: ") as caught:
        EmbeddedServer(tmp_path).start()
    assert "\n" not in str(caught.value)


def test_full_disk_during_creation_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that the reason is extracted from initdb's output, which also contains messages about the cleanup."""
    programs = tmp_path / "pginstall18/bin"
    programs.mkdir(parents=True)
    initdb = programs / "initdb"
    initdb.write_text(
        "#!/bin/sh\necho 'creating directory ... ok'\n"
        "echo 'initdb: error: could not write: No space left on device' >&2\n"
        "echo 'initdb: removing contents of data directory' >&2\nexit 1\n"
    )
    initdb.chmod(0o755)
    monkeypatch.setattr("saldo.store.embedded.binaries._find_installed_binaries", lambda: programs)
    with pytest.raises(ConfigurationError, match=r"initdb: .*No space left on device"):
        EmbeddedServer(tmp_path / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root runs the server as someone else")
def test_root_only_parent_directory_remains_root_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Check the log line about the server's capability, and that the server inherits no secrets of the service."""
    tmp_path.chmod(0o700)
    caplog.set_level("INFO")
    for name in ("SALDO_ADMIN_KEY", "PGPASSWORD", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "a-secret-of-the-service")
    with run_server(tmp_path / "data") as server:
        environment = Path(f"/proc/{server.pid}/environ").read_bytes().split(b"\0")
        names = {each.partition(b"=")[0].decode() for each in environment if each}
        assert {"PATH", "LC_ALL"} <= names <= {*INHERITED_VARIABLES, "LC_ALL"}
        assert "CAP_DAC_READ_SEARCH" in caplog.text and str(tmp_path) in caplog.text
        _keep_a_row(server)
        assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o700
        status = Path(f"/proc/{server.pid}/status").read_text()
        assert "Uid:\t0" not in status


@pytest.mark.skipif(os.geteuid() != 0, reason="only root needs setpriv")
def test_missing_setpriv_is_reported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(ConfigurationError, match="setpriv"):
        EmbeddedServer(tmp_path / "data").start()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become someone else")
def test_a_directory_that_can_not_be_written_is_one_clear_line(tmp_path: Path) -> None:
    program = (
        "import os, sys; from pathlib import Path; import psycopg; "
        "from saldo.store.embedded import EmbeddedServer; from saldo.store.errors import ConfigurationError\n"
        "os.setgid(65534); os.setuid(65534)\n"
        "try: EmbeddedServer(Path('/proc/1/saldo')).start()\n"
        "except ConfigurationError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=False, capture_output=True, text=True
    )
    assert done.stdout.startswith("data directory"), done.stderr
    assert len(done.stdout.splitlines()) == 1


DAMAGES = [b"", b"\0" * 128, b"\n\n\n", b"nonsense\n\xff\xfe", b"-5\n", b"99999999999999999999\n"]
"""Contents that a file may have if the power fails while it is written."""


def test_start_survives_damaged_lock_files(tmp_path: Path) -> None:
    """Write each content into each file that names a running process, Saldo's and PostgreSQL's."""
    with run_server(tmp_path) as server:
        with psycopg.connect(server.superuser_url, autocommit=True) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
        cluster, socket_dir = server.cluster, server.socket_dir
    socket_lock = socket_dir / ".s.PGSQL.5432.lock"
    files = [cluster / "postmaster.pid", socket_lock, cluster / "postmaster.opts"]
    files += [tmp_path / "saldo.lock", tmp_path / "service.url"]
    owner = cluster.stat()
    for damage in DAMAGES:
        for file in files:
            file.write_bytes(damage)
            if file.parent != tmp_path:
                os.chown(file, owner.st_uid, owner.st_gid)
        read_announced_url(tmp_path)
        assert not EmbeddedServer(tmp_path).attach_to_running_server()
        with run_server(tmp_path) as server, psycopg.connect(server.superuser_url) as connection:
            assert connection.execute("SELECT one FROM kept").fetchone() == (1,)


def test_a_second_start_is_refused_in_one_line_whatever_its_lock_file_holds(tmp_path: Path) -> None:
    with run_server(tmp_path):
        (tmp_path / "saldo.lock").write_bytes(b"\xff\0")
        with pytest.raises(ConfigurationError, match="is already in use by process"):
            EmbeddedServer(tmp_path).start()


def test_a_server_that_its_damaged_pid_file_does_not_name_is_ended(tmp_path: Path) -> None:
    orphan, _ = _orphan(tmp_path)
    (tmp_path / "postgresql-18/postmaster.pid").write_bytes(b"")
    assert _runs(Path(f"/proc/{orphan}"))
    with run_server(tmp_path):
        assert not _runs(Path(f"/proc/{orphan}"))
