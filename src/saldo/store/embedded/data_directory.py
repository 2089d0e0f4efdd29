"""The lock of the data directory, the directory of the socket, and a check of the environment."""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from contextlib import suppress
from pathlib import Path
from typing import IO
from urllib.parse import quote

from saldo.store.embedded.system_account import ServerAccount
from saldo.store.errors import ConfigurationError

LOCK_NAME = "saldo.lock"
SOCKET_DIR_NAME = "socket"
SOCKET_NAME = ".s.PGSQL.5432"

SOCKET_PATH_BYTES_MAX = 107
"""Maximum length of the path of a Unix socket, in bytes. The operating system sets this limit."""

SOCKET_PATH_FORBIDDEN_CHARACTERS = frozenset('",\\')
"""Characters that the path of the socket must not contain.

In a connection string a comma separates hosts, and in postgresql.conf the other characters would have to be escaped. If
the data directory contains one of them, the socket is in another directory.
"""


def check_environment(data_dir: Path) -> None:
    """Reject an environment or a path with which connections would not reach the embedded server.

    Raises:
        ConfigurationError: The message is one line for the operator.
    """
    if os.environ.get("PGHOSTADDR"):
        raise ConfigurationError(
            "PGHOSTADDR is set, which would redirect connections to the embedded database: "
            "unset it, or set SALDO_DATABASE_URL"
        )
    if {"\n", "\r"} & set(str(data_dir)):
        raise ConfigurationError(
            f"data directory {str(data_dir)!r}: the path must not contain line breaks"
        )


def take_lock(data_dir: Path) -> IO[str]:
    """Lock the data directory until the returned file is closed.

    Raises:
        ConfigurationError: Another process holds the lock.
    """
    lock = (data_dir / LOCK_NAME).open("a+", errors="replace")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "?"
        lock.close()
        raise ConfigurationError(
            f"data directory {data_dir} is already in use by process {holder}"
        ) from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def choose_socket_dir(data_dir: Path, account: ServerAccount) -> Path:
    """Return the directory of the socket, which only the account may enter, and create it if it does not exist.

    Raises:
        ConfigurationError: The path belongs to another account, or is accessible to others.
    """
    path = data_dir / SOCKET_DIR_NAME
    if not _fits_socket(path):
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"saldo-{os.geteuid()}-{digest}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        account.chown(path)
    found = path.lstat()
    # Another account may have created the directory, if all accounts may write to the parent directory.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.user_id or found.st_mode & 0o077:
        raise ConfigurationError(
            f"socket directory {path} must belong to the account of PostgreSQL, with mode 0700"
        )
    return path


def build_connection_url(socket_dir: Path, role: str, database: str) -> str:
    """Return a connection string that uses the socket."""
    # The port is explicit, so that PGPORT in the environment does not override it.
    return f"postgresql://{role}@/{database}?host={quote(str(socket_dir), safe='')}&port=5432"


def _fits_socket(directory: Path) -> bool:
    path = os.fsencode(directory / SOCKET_NAME)
    text = path.decode(errors="replace")
    odd = (
        "\ufffd" in text
        or not text.isprintable()
        or SOCKET_PATH_FORBIDDEN_CHARACTERS.intersection(text)
    )
    return len(path) <= SOCKET_PATH_BYTES_MAX and not odd
