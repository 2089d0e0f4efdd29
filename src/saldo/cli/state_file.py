"""State files of long commands, and locks.

A state file is a small JSON file next to the file that a command reads or writes. It is written atomically. A lock
ensures that no other command writes the same files at the same time.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, TypeVar

import msgspec

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.private_files import open_existing_file, open_to_append, write_atomically

T = TypeVar("T", bound=msgspec.Struct)

HEAD_BYTES: Final = 1_048_576
"""Bytes at the start of a file that are hashed to identify the file."""


class FileIdentity(msgspec.Struct, frozen=True):
    """The identity of a file. It also changes if data is appended to the file."""

    size: int
    modified_ns: int
    head_sha256: str


def identify_file(path: Path) -> FileIdentity:
    """Return the identity of a file."""
    status = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
    return FileIdentity(status.st_size, status.st_mtime_ns, head)


def build_sibling_path(path: Path, suffix: str) -> Path:
    """Return the path with the suffix appended to its name, in the same directory."""
    return path.with_name(path.name + suffix)


@contextmanager
def hold_lock(path: Path, conflict: str) -> Iterator[None]:
    """Hold a lock while the block runs. Only one process can hold it at a time.

    Args:
        path: The lock file, which exists while the lock is held.
        conflict: The error message if another process holds the lock.

    Raises:
        CommandError: Another process holds the lock, or the directory is not writable.
    """
    lock = None
    try:
        while lock is None:
            lock = _try_lock(path)
    except BlockingIOError:
        raise CommandError(conflict, ExitCode.USAGE) from None
    except OSError as error:
        raise CommandError(f"can't write {path}: {error.strerror}", ExitCode.USAGE) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _try_lock(path: Path) -> IO[bytes] | None:
    lock = open_to_append(path)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # The previous holder may have deleted the file after it was opened here. Another process would then create and
        # lock a new file.
        if os.path.samestat(os.fstat(lock.fileno()), path.stat()):
            return lock
    except FileNotFoundError:
        pass
    except OSError:
        lock.close()
        raise
    lock.close()
    return None


def read_state(path: Path, type_: type[T]) -> T | None:
    """Return the stored state, or None if no state can be read. The command then starts from the beginning, which is
    always safe."""
    with (
        suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError),
        open_existing_file(path) as file,
    ):
        return msgspec.json.decode(file.read(), type=type_)
    return None


def write_state(path: Path, state: msgspec.Struct) -> None:
    """Store the state.

    Raises:
        CommandError: The file can't be written.
    """
    try:
        with write_atomically(path) as file:
            file.write(msgspec.json.encode(state))
    except OSError as error:
        raise CommandError(f"can't write {path}: {error.strerror}") from None
