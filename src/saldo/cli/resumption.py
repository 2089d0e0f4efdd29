"""Where a long command goes on: a small file beside the one it reads or writes. JSON, written whole or not at all."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from saldo.cli.exits import CommandError

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
