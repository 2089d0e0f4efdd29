"""The lock of the data directory, where the socket lies, and what of the surroundings would mislead us."""

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

from saldo.store.embedded.account import Account
from saldo.store.errors import SetUpError

LOCK_NAME = "saldo.lock"
SOCKET_DIR_NAME = "socket"
SOCKET_NAME = ".s.PGSQL.5432"

SOCKET_PATH_BYTES_MAX = 107
"""The operating system's limit for the path of a Unix socket."""

SOCKET_PATH_CHARACTERS_REFUSED = frozenset('",\\')
"""A comma separates hosts in a connection string; the others need an escape of their own in
postgresql.conf: a directory elsewhere is simpler than to be right about all of them."""


def check_surroundings(data_dir: Path) -> None:
    """Refuses what would lead elsewhere than to our own server.

    Raises:
        SetUpError: one line for the operator.
    """
    if os.environ.get("PGHOSTADDR"):
        raise SetUpError(
            "PGHOSTADDR is set: it would send the embedded database's connections elsewhere; "
            "unset it, or set SALDO_DATABASE_URL"
        )
    if {"\n", "\r"} & set(str(data_dir)):
        raise SetUpError(f"data directory {str(data_dir)!r}: PostgreSQL takes no line breaks")


def take_lock(data_dir: Path) -> IO[str]:
    """Makes the data directory ours until what is returned is closed.

    Raises:
        SetUpError: it is another's.
    """
    lock = (data_dir / LOCK_NAME).open("a+")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        lock.seek(0)
        holder = lock.read().strip() or "?"
        lock.close()
        raise SetUpError(f"data directory {data_dir} is in use by process {holder}") from None
    lock.truncate(0)
    lock.write(f"{os.getpid()}\n")
    lock.flush()
    return lock


def choose_socket_dir(data_dir: Path, account: Account) -> Path:
    """The directory of the socket, made if need be, which only the account may enter.

    Raises:
        SetUpError: someone else's directory is in its place.
    """
    path = data_dir / SOCKET_DIR_NAME
    if not _fits_socket(path):
        digest = hashlib.sha256(os.fsencode(data_dir)).hexdigest()[:12]
        path = Path(tempfile.gettempdir()) / f"saldo-{os.geteuid()}-{digest}"
    with suppress(FileExistsError):
        path.mkdir(mode=0o700)
        account.give(path)
    found = path.lstat()
    # Someone else could have put it there, in a directory that all may write to.
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != account.user_id or found.st_mode & 0o077:
        raise SetUpError(f"socket directory {path} is not a directory of ours alone (mode 0700)")
    return path


def connection_url(socket_dir: Path, role: str, database: str) -> str:
    """A connection string through the socket."""
    # The port is said: PGPORT in the environment must not choose another.
    return f"postgresql://{role}@/{database}?host={quote(str(socket_dir), safe='')}&port=5432"


def _fits_socket(directory: Path) -> bool:
    path = os.fsencode(directory / SOCKET_NAME)
    text = path.decode(errors="replace")
    odd = (
        "\ufffd" in text
        or not text.isprintable()
        or SOCKET_PATH_CHARACTERS_REFUSED.intersection(text)
    )
    return len(path) <= SOCKET_PATH_BYTES_MAX and not odd
