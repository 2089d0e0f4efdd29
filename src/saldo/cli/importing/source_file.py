"""The input file of an import, and its rows."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format
from saldo.cli.importing.row_mapping import ColumnMapping, RowMapper
from saldo.cli.importing.row_readers import Row, RowFile, UnreadableRowsError
from saldo.cli.state_file import FileIdentity, identify_file


@dataclass(frozen=True, slots=True)
class SourceFile:
    """An input file, its format and its mapping."""

    path: Path
    format: Format
    delimiter: str
    mapping: ColumnMapping

    def identify(self) -> FileIdentity:
        """Return the identity of the file in its current state.

        Raises:
            CommandError: The file is not a regular file, or can't be read.
        """
        try:
            # Only regular files are accepted. Opening a pipe would block until a writer opens it, and a resumed import
            # reads the file from its start.
            if not stat.S_ISREG(self.path.stat().st_mode):
                raise CommandError(
                    f"{self.path}: only a regular file can be imported", ExitCode.USAGE
                )
            return identify_file(self.path)
        except OSError as error:
            raise CommandError(
                f"can't read {self.path}: {error.strerror}", ExitCode.USAGE
            ) from None


def read_rows(row_file: RowFile, mapper: RowMapper) -> Iterator[Row]:
    """Yield the rows of a file.

    Raises:
        UnreadableRowsError: The boundaries of the rows are unknown from some line on. The message names the lines.
    """
    for row in row_file.rows:
        if row.following and mapper.spans_several_rows(row):
            raise UnreadableRowsError(
                row.line - len(row.following),
                row.line,
                "they form one row with a quoted text that looks like several rows",
            )
        yield row
