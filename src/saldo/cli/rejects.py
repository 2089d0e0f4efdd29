"""The rows that were not posted, in a file beside the input: with the reason, to be mended and imported.

A row that the ledger has refused is recorded under its uuid: to try it again is to give it another one.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import BinaryIO


class Rejects:
    """The file. It is made with its first row. A context manager.

    Attributes:
        size_bytes: of what is written out; a resumed import cuts it off there.
    """

    def __init__(self, path: Path, columns: Sequence[str], size_bytes: int) -> None:
        self.path = path
        self.size_bytes = size_bytes
        self._columns = columns
        self._file: BinaryIO | None = None

    def __enter__(self) -> Rejects:
        if not self.size_bytes:
            self.path.unlink(missing_ok=True)
        elif self.path.exists():
            self.size_bytes = min(
                self.size_bytes, self.path.stat().st_size
            )  # it may have been edited
            with self.path.open("r+b") as file:
                file.truncate(self.size_bytes)
        else:
            self.size_bytes = 0
        return self

    def __exit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._file is not None:
            self._file.close()

    def write(self, rows: Sequence[Sequence[str | None]]) -> None:
        """Rows of line, reason and the input's columns; written out when this returns."""
        if not rows:
            return
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        if self._file is None:
            self._file = self.path.open("ab")
        if not self.size_bytes:
            writer.writerow(("line", "reason", *self._columns))
        writer.writerows(rows)
        # What was no UTF-8 in the input is the same here.
        try:
            data = text.getvalue().encode("utf-8", "surrogateescape")
        except UnicodeEncodeError:  # of JSON: half a character, which no bytes stand for
            data = text.getvalue().encode("utf-8", "backslashreplace")
        self._file.write(data)
        self._file.flush()
        self.size_bytes += len(data)
