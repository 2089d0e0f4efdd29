"""The rows that were not posted, in a file beside the input: with the reason, to be mended and imported.

A row that the ledger has refused is recorded under its uuid: to try it again is to give it another one.
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

from saldo.cli.exits import CommandError
from saldo.cli.mapping import REASONED
from saldo.cli.output import note

NOTHING_SHA256: Final = hashlib.sha256().hexdigest()
"""Of no rows."""

BLOCK_BYTES: Final = 1_048_576
"""Of a file that are in memory at once."""


class Rejects:
    """The file. It is made with its first row. A context manager.

    One that is there and not ours to go on with may have been mended: it is moved aside, and kept unless the new one
    has all that was in it.

    Attributes:
        size_bytes: of what is written out; a resumed import cuts it off there.
    """

    def __init__(self, path: Path, columns: Sequence[str], delimiter: str, size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._columns = columns
        self._delimiter = delimiter
        self._digest = hashlib.sha256()
        self._aside: Path | None = None
        self._file: BinaryIO | None = None

    def __enter__(self) -> Rejects:
        """
        Raises:
            CommandError: the file can't be moved, or written.
        """
        try:
            if self.size_bytes:
                with self.path.open("r+b") as file:
                    file.truncate(self.size_bytes)
                for block in _blocks(self.path):
                    self._digest.update(block)
            elif self.path.exists():
                self._aside = _free(self.path)
                self.path.rename(self._aside)
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}") from None
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
        if sha256_of(self.path, self._aside.stat().st_size) == sha256_of(self._aside):
            self._aside.unlink()
        else:
            note(f"saldo: {self.path} was there with other rows: it is kept as {self._aside}")

    @property
    def sha256(self) -> str:
        """Of what is written out."""
        return self._digest.hexdigest()

    def write(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Rows of line, reason and the input's columns; on the disk when this returns.

        Raises:
            CommandError: it can't be written.
        """
        if not rows:
            return
        text = io.StringIO()
        writer = csv.writer(text, delimiter=self._delimiter, lineterminator="\n")
        if not self.size_bytes:
            writer.writerow((*REASONED, *self._columns))
        writer.writerows(rows)
        # What was no UTF-8 in the input is the same here.
        try:
            data = text.getvalue().encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # of JSON: half a character, which no bytes stand for
            data = text.getvalue().encode("utf-8", "backslashreplace")
        try:
            if self._file is None:
                self._file = self.path.open("ab")
            self._file.write(data)
            self._file.flush()
            # Before the state says that they are there.
            os.fsync(self._file.fileno())
        except OSError as error:
            raise CommandError(f"{self.path}: {error.strerror}") from None
        self._digest.update(data)
        self.size_bytes += len(data)


def sha256_of(path: Path, size_bytes: int | None = None) -> str | None:
    """Of a file's first bytes, or of all; None: it has not so many."""
    digest = hashlib.sha256()
    seen = 0
    try:
        for block in _blocks(path):
            part = block if size_bytes is None else block[: size_bytes - seen]
            digest.update(part)
            seen += len(part)
            if seen == size_bytes:
                break
    except FileNotFoundError:
        pass
    return None if seen < (size_bytes or 0) else digest.hexdigest()


def _blocks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while block := file.read(BLOCK_BYTES):
            yield block


def _free(path: Path) -> Path:
    names = (path.with_name(f"{path.stem}.{number}{path.suffix}") for number in count(1))
    return next(each for each in names if not each.exists())
