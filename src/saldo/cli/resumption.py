"""Where a long command goes on: a small file beside the one it reads or writes. JSON, written whole or not at all.

And that no other one writes the same files meanwhile.
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

from saldo.cli.exits import CommandError, Exit

T = TypeVar("T", bound=msgspec.Struct)

HEAD_BYTES: Final = 1_048_576
"""Of a file that are looked at, to know it again."""


class FileIdentity(msgspec.Struct, frozen=True):
    """By what a file is known again; what is written to its end changes it, too."""

    size: int
    modified_ns: int
    head_sha256: str


def identity_of(path: Path) -> FileIdentity:
    """A file's."""
    status = path.stat()
    with path.open("rb") as file:
        head = hashlib.sha256(file.read(HEAD_BYTES)).hexdigest()
    return FileIdentity(status.st_size, status.st_mtime_ns, head)


def beside(path: Path, suffix: str) -> Path:
    """`NAME` and the suffix, in the same directory."""
    return path.with_name(path.name + suffix)


@contextmanager
def alone(path: Path, other: str) -> Iterator[None]:
    """Whoever asks for the same lock meanwhile is refused.

    Args:
        path: of the lock, a file that is there as long as this lasts.
        other: what is said of whoever has it.

    Raises:
        CommandError: another has it, or the directory can't be written in.
    """
    lock = None
    try:
        while lock is None:
            lock = _locked(path)
    except BlockingIOError:
        raise CommandError(other, Exit.USAGE) from None
    except OSError as error:
        raise CommandError(f"{path} can't be written: {error.strerror}", Exit.USAGE) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        lock.close()


def _locked(path: Path) -> IO[bytes] | None:
    lock = path.open("ab")
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # Whoever had it may have removed it meanwhile: then the next one would make another.
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
    """What was kept; None: nothing that can be read, and the command begins anew, which is always safe."""
    with suppress(OSError, msgspec.MsgspecError, UnicodeDecodeError):
        return msgspec.json.decode(path.read_bytes(), type=type_)
    return None


def write_state(path: Path, state: msgspec.Struct) -> None:
    """Keeps it.

    Raises:
        CommandError: it can't be written.
    """
    new = beside(path, ".new")
    try:
        with new.open("wb") as file:
            file.write(msgspec.json.encode(state))
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
    except OSError as error:
        raise CommandError(f"{path}: {error.strerror}") from None
