"""Files that a command writes. They contain customers' data, so only their owner can read them.

Other accounts may be able to write to the directory. The command must not follow a link that such an account has
planted there, and must not append to a planted file.
"""

from __future__ import annotations

import errno
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

FILE_MODE: Final = 0o600


@contextmanager
def write_atomically(path: Path) -> Iterator[BinaryIO]:
    """Write a file atomically. When the block ends, the file is synced to the disk and then gets its name.

    Raises:
        OSError: The file can't be written.
    """
    temporary = path.with_name(f".{path.name[:100]}.{secrets.token_hex(8)}.tmp")
    try:
        with create_new_file(temporary) as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def create_new_file(path: Path) -> BinaryIO:
    """Create a file that does not exist yet.

    Raises:
        OSError: A file with this name exists, or the file can't be written.
    """
    return _open_without_following(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, "wb")


def create_or_replace_file(path: Path) -> BinaryIO:
    """Create a file, and replace one that an earlier run has left.

    Raises:
        OSError: The file can't be written.
    """
    path.unlink(missing_ok=True)
    return create_new_file(path)


def open_to_append(path: Path) -> BinaryIO:
    """Open a file to append to it; create it if it does not exist.

    Raises:
        OSError: The file is a link, belongs to another account, or can't be written.
    """
    return _require_ownership(
        _open_without_following(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, "ab"), path
    )


def open_existing_file(path: Path) -> BinaryIO:
    """Open a file of an earlier run, to read and write.

    Raises:
        OSError: The file is a link, belongs to another account, or does not exist.
    """
    return _require_ownership(_open_without_following(path, os.O_RDWR, "r+b"), path)


def _open_without_following(path: Path, flags: int, mode: str) -> BinaryIO:
    # With O_NOFOLLOW, opening a link is an error (ELOOP). With O_NONBLOCK, opening a planted pipe does not block.
    descriptor = os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, FILE_MODE)
    return os.fdopen(descriptor, mode)  # type: ignore[return-value]


def _require_ownership(file: BinaryIO, path: Path) -> BinaryIO:
    if os.fstat(file.fileno()).st_uid == os.geteuid():
        return file
    file.close()
    raise PermissionError(errno.EACCES, "the file belongs to another account", str(path))
