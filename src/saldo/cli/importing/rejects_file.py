"""The file of the rows that were not posted, with the reasons. It can be corrected and imported.

The refusal of a row is recorded under its uuid. Such a row needs a new uuid before it is imported again.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final

from saldo.cli.exit_codes import CommandError
from saldo.cli.importing.row_mapping import REASON_COLUMNS
from saldo.cli.output import print_note
from saldo.cli.private_files import open_existing_file, open_to_append

EMPTY_SHA256: Final = hashlib.sha256().hexdigest()
"""SHA-256 of an empty file."""

BLOCK_BYTES: Final = 1_048_576
"""Bytes of a file that are in memory at a time."""


class RejectsFile:
    """The rejects file, which is created with its first row. It is a context manager.

    If a file exists that does not belong to the resumed import, a person may have corrected it. Such a file is renamed.
    At the end it is deleted only if the new file begins with the same content.

    Attributes:
        size_bytes: The size of the rows that were written. A resumed import truncates the file to this size.
    """

    def __init__(self, path: Path, columns: Sequence[str], delimiter: str, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._columns = columns
        self._delimiter = delimiter
        self._digest = hashlib.sha256()
        self._aside: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> RejectsFile:
        """Truncate the file of a resumed import, or rename a file that another import has left.

        Raises:
            CommandError: The file can't be renamed or written.
        """
        try:
            if self.size_bytes:
                with open_existing_file(self.path) as file:
                    file.truncate(self.size_bytes)
                for block in _read_blocks(self.path):
                    self._digest.update(block)
            elif self.path.exists():
                self._aside = _find_unused_path(self.path)
                self.path.rename(self._aside)
        except OSError as error:
            raise CommandError(f"can't write {self.path}: {error.strerror}") from None
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()
        if self._aside is None:
            return
        if hash_file(self.path, self._aside.stat().st_size) == hash_file(self._aside):
            self._aside.unlink()
        else:
            print_note(
                f"saldo: {self.path} already existed with other rows, and was renamed to {self._aside}"
            )

    @property
    def sha256(self) -> str:
        """The SHA-256 of the rows that were written."""
        return self._digest.hexdigest()

    def write(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Append rows and flush them to the disk. A row has the line, the reason and the values of the input's columns.

        Raises:
            CommandError: The file can't be written.
        """
        if not rows:
            return
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        if not self.size_bytes:
            writer.writerow((*REASON_COLUMNS, *self._columns))
        writer.writerows(rows)
        # Bytes of the input that are not UTF-8 are written unchanged.
        try:
            data = text.getvalue().encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # a lone surrogate from JSON, which can't be encoded
            data = text.getvalue().encode("utf-8", "backslashreplace")
        try:
            if self._file is None:
                self._file = open_to_append(self.path)
            self._file.write(data)
            self._file.flush()
            # The rows must be on the disk before the state file counts them.
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CommandError(f"can't write {self.path}: {error.strerror}") from None
        self._digest.update(data)
        self.size_bytes += len(data)


def hash_file(path: Path, size_bytes: int | None = None) -> str | None:
    """Return the SHA-256 of a file, or of its first `size_bytes` bytes; None if the file is shorter."""
    digest = hashlib.sha256()
    size_read = 0
    try:
        for block in _read_blocks(path):
            part = block if size_bytes is None else block[: size_bytes - size_read]
            digest.update(part)
            size_read += len(part)
            if size_read == size_bytes:
                break
    except FileNotFoundError:
        pass
    return None if size_read < (size_bytes or 0) else digest.hexdigest()


def _read_blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _find_unused_path(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in count(1))
    return next(each for each in names if not each.exists())
