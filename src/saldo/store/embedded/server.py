"""Start, supervision and stop of the embedded server."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import IO, NamedTuple

import psycopg

from saldo.store.embedded.binaries import MAJOR_VERSION, Programs, extract_reason
from saldo.store.embedded.cluster import (
    check_cluster,
    configure_cluster,
    create_cluster,
    get_cluster_path,
)
from saldo.store.embedded.data_directory import (
    build_connection_url,
    check_environment,
    choose_socket_dir,
    take_lock,
)
from saldo.store.embedded.stale_server import STOP_SECONDS_MAX, stop_stale_server
from saldo.store.embedded.system_account import ACCOUNT, ServerAccount
from saldo.store.embedded.wal_archive import Recovery, open_archive
from saldo.store.errors import ConfigurationError, DatabaseUnavailableError
from saldo.store.statements import load_statement

START_SECONDS_MAX = 600
"""Maximum time for a start. It is long, because crash recovery may have to replay all of max_wal_size."""

RECOVERY_SECONDS_MAX = 7 * 24 * 3600
"""Maximum time for the start of a restore, which may have to replay the WAL of months."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""Maximum size of the server's log at a start, in bytes. A larger log is emptied."""

_log = logging.getLogger("saldo.embedded")


class OlderVersion(NamedTuple):
    """An older version of PostgreSQL, and the directory of its programs."""

    major: str
    binaries: Path


class EmbeddedServer:
    """A PostgreSQL server that is started and stopped by this process, and restarted if it ends by itself."""

    def __init__(
        self,
        data_dir: Path,
        *,
        archive_dir: Path | None = None,
        recovery: Recovery | None = None,
        older: OlderVersion | None = None,
    ) -> None:
        """
        Args:
            archive_dir: The directory of the WAL archive; None disables archiving.
            recovery: The recovery that `start` runs and waits for; None for a normal start.
            older: The version of the database, if it is older than `MAJOR_VERSION`.
        """
        # The path is resolved, because the kernel and PostgreSQL report directories without symbolic links.
        self._data_dir = data_dir.resolve()
        self._archive_dir = None if archive_dir is None else archive_dir.resolve()
        self._recovery = recovery
        self._binaries = None if older is None else older.binaries
        self._version = MAJOR_VERSION if older is None else older.major
        self._cluster = get_cluster_path(self._data_dir, self._version)
        self._log_path = self._data_dir / "postgresql.log"
        self._lock: IO[str] | None = None
        self._programs: Programs | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: threading.Thread | None = None
        self._is_stopping = threading.Event()
        self._socket_dir = self._data_dir / "socket"

    @property
    def service_role_url(self) -> str:
        """The connection string of the service role, which can append to the log but not alter it."""
        return build_connection_url(self._socket_dir, "saldo", "saldo")

    @property
    def owner_role_url(self) -> str:
        """The connection string of the role that owns the schema and runs the migrations."""
        return build_connection_url(self._socket_dir, "saldo_owner", "saldo")

    @property
    def superuser_url(self) -> str:
        """The connection string of the superuser, in the database `postgres`."""
        return build_connection_url(self._socket_dir, "postgres", "postgres")

    @property
    def ledger_url(self) -> str:
        """The connection string of the superuser, in the ledger's database."""
        return build_connection_url(self._socket_dir, "postgres", "saldo")

    @property
    def socket_dir(self) -> Path:
        """The directory of the server's socket."""
        return self._socket_dir

    @property
    def data_dir(self) -> Path:
        """The data directory, without symbolic links."""
        return self._data_dir

    @property
    def cluster(self) -> Path:
        """The directory of PostgreSQL's own files."""
        return self._cluster

    @property
    def pid(self) -> int | None:
        """The server's process id; None if it does not run."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def is_cluster_created(self) -> bool:
        """Return whether the cluster has been created.

        Raises:
            ConfigurationError: The path of the cluster contains something else.
        """
        return check_cluster(self._cluster)

    def attach_to_running_server(self) -> bool:
        """Return whether another process has started the server. If so, the connection strings of this object lead to
        that server."""
        try:
            lines = (self._cluster / "postmaster.pid").read_text(errors="replace").splitlines()
            self._socket_dir = Path(lines[4])
            psycopg.connect(self.service_role_url, connect_timeout=5).close()
        except (OSError, IndexError, psycopg.Error):
            return False
        return True

    def start(self) -> None:
        """Start the server and wait until it accepts connections.

        Raises:
            ConfigurationError: The message is one line for the operator.
        """
        if self._lock is not None:
            raise ConfigurationError(f"the server of {self._data_dir} has already been started")
        try:
            self._start()
        except OSError as error:
            self.stop()
            raise ConfigurationError(
                f"data directory {self._data_dir}: {error.strerror}"
            ) from error
        except psycopg.Error as error:
            self.stop()
            line = str(error).strip().partition("\n")[0]
            raise ConfigurationError(f"can't set up the embedded PostgreSQL: {line}") from error
        except BaseException:
            self.stop()
            raise
        self._supervisor = threading.Thread(
            target=self._supervise, name="embedded PostgreSQL supervisor", daemon=True
        )
        self._supervisor.start()
        _log.info("embedded PostgreSQL %s runs in %s", self._version, self._data_dir)

    def stop(self) -> None:
        """Stop the server and wait until it has ended. Do nothing if it does not run."""
        self._is_stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self._process is not None and self._process.poll() is None:
            # The modes are fast, immediate, and a kill by the kernel. Signals are used, because pg_ctl fails if the
            # server has not written its pid file.
            for number in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                self._process.send_signal(number)
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(STOP_SECONDS_MAX)
                    break
            _log.info("embedded PostgreSQL has stopped")
        self._process = None
        if self._socket_dir.parent != self._data_dir:
            with suppress(OSError):  # only if it is empty
                self._socket_dir.rmdir()
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def _start(self) -> None:
        check_environment(self._data_dir)
        self._data_dir.mkdir(parents=True, exist_ok=True)
        self._lock = take_lock(self._data_dir)
        account = ServerAccount.for_server()
        self._socket_dir = choose_socket_dir(self._data_dir, account)
        reached = [self._data_dir, self._socket_dir.parent]
        if self._archive_dir is not None:
            open_archive(self._archive_dir, account)
            reached.append(self._archive_dir)
        if self._recovery is not None and self._recovery.archive_dir is not None:
            reached.append(self._recovery.archive_dir)
        self._programs = Programs(account, *reached, binaries=self._binaries)
        if self._programs.inaccessible_directory is not None:
            # The level is info, because commands also start the server, and show warnings in the terminal.
            _log.info(
                "PostgreSQL gets the capability CAP_DAC_READ_SEARCH, with which it could read any file of "
                "this machine, "
                "because the account %s has no access to %s. Install Saldo and its data in directories that every "
                "account may enter, such as /opt and /var/lib, or run Saldo under a dedicated account",
                ACCOUNT,
                self._programs.inaccessible_directory,
            )
        create_cluster(self._cluster, account, self._programs)
        configure_cluster(
            self._cluster, account, self._socket_dir, self._archive_dir, self._recovery
        )
        stop_stale_server(self._cluster, self._socket_dir, self._programs)
        if self._log_path.exists() and self._log_path.stat().st_size > LOG_BYTES_MAX:
            self._log_path.write_bytes(b"")
        self._is_stopping.clear()
        self._launch_server()
        self._create_database()

    def _launch_server(self) -> None:
        assert self._programs is not None
        seconds = START_SECONDS_MAX if self._recovery is None else RECOVERY_SECONDS_MAX
        deadline = time.monotonic() + seconds
        while True:
            with self._open_log() as log:
                begin = log.tell()
                self._process = self._programs.launch_server(self._cluster, log)
            if self._wait_ready(deadline) or self._is_stopping.is_set():
                return
            written = self._read_log_since(begin)
            # Backends of a killed server may still use its shared memory for a short time. The start is then repeated.
            if "is still in use" not in written or time.monotonic() > deadline:
                raise ConfigurationError(
                    f"the embedded PostgreSQL failed to start: {extract_reason(written)}"
                )
            time.sleep(0.2)

    def _wait_ready(self, deadline: float) -> bool:
        """Wait until the launched server accepts connections. Return False if it has ended or must stop.

        The state is read from the pid file, as pg_ctl does. A failed connection would not distinguish a server that is
        starting from one that never will be ready.
        """
        assert self._process is not None
        pid_file = self._cluster / "postmaster.pid"
        while self._process.poll() is None and not self._is_stopping.is_set():
            with suppress(FileNotFoundError):
                lines = pid_file.read_text(errors="replace").splitlines()
                ready = len(lines) > 7 and lines[7].strip() == "ready"
                if ready and lines[0] == str(self._process.pid):
                    return True
            if time.monotonic() > deadline:
                raise DatabaseUnavailableError(
                    "the embedded PostgreSQL did not become ready in time"
                )
            time.sleep(0.05)
        return False

    def _open_log(self) -> IO[bytes]:
        """Open the server's log for appending. Only its owner may read it, because it may contain sensitive data."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = os.fdopen(os.open(self._log_path, flags, 0o600), "ab")
        os.fchmod(log.fileno(), 0o600)
        return log

    def _read_log_since(self, begin: int) -> str:
        with self._log_path.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _supervise(self) -> None:
        backoff = 0.2
        while not self._is_stopping.wait(0.1):
            assert self._process is not None
            if self._process.poll() is None:
                backoff = 0.2
                continue
            _log.error(
                "embedded PostgreSQL ended with exit code %s; restarting it",
                self._process.returncode,
            )
            try:
                self._launch_server()
            except (ConfigurationError, OSError) as error:
                _log.error("%s", error)
                self._is_stopping.wait(backoff)
                backoff = min(backoff * 2, 5.0)

    def _create_database(self) -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(load_statement("embedded/create_roles"))
            found = connection.execute("SELECT FROM pg_database WHERE datname = 'saldo'")
            if found.fetchone() is None:
                connection.execute("CREATE DATABASE saldo OWNER saldo_owner")
