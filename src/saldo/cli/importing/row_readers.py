"""Streaming readers of files of rows: CSV, newline-delimited JSON and Parquet. Every value is returned as text."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format, import_pyarrow
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import parse_object

BATCH_ROWS: Final = 10_000
"""Rows of a Parquet file that are in memory at a time."""

LINE_BYTES_MAX: Final = 1_048_576
"""Maximum size of a JSON line in bytes. A longer line is rejected, so that it can't fill the memory."""

LINE_CHARACTERS_MAX: Final = 1_048_576
"""Maximum length of a CSV row in characters, including the line breaks in quoted values. Longer input is rejected, so
that it can't fill the memory."""

TOO_LONG: Final = f"more than {LINE_CHARACTERS_MAX:,} characters"

UNREADABLE_CHARACTERS_MAX: Final = 100_000
"""Maximum length of an unreadable line of CSV in the rejects file. It is written there as one value, and a CSV
reader accepts at most 131,072 characters per value."""


BINARY_FLOAT: Final = " (a binary float)"
"""Suffix that marks a number from a Parquet column of binary floats, because such a column can't hold most decimal
amounts exactly."""

BOM: Final = b"\xef\xbb\xbf"
"""Byte order mark, which some editors write at the beginning of a UTF-8 file. Concatenated files may contain
several."""


class Row(NamedTuple):
    """A row.

    Attributes:
        number: The number of the row, from 1, without the header row.
        line: The number of the last line of the row in the file, from 1. In a Parquet file, it is the number of the
            row.
        values: The values by column; None for a missing one.
        fault: The reason why the row can't be read, or None. If there is a reason, `values` contains what could be
            read.
        following: The lines of the row after its first line, each parsed as if it were a row.
    """

    number: int
    line: int
    values: Sequence[str | None]
    fault: str | None = None
    following: Sequence[Sequence[str]] = ()


class UnreadableRowsError(Exception):
    """Raised when the boundaries of the rows are unknown from some line on. The message names the lines."""

    def __init__(self, first: int, last: int, reason: str) -> None:
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        super().__init__(f"can't read {lines}: {reason}; a closing quotation mark may be missing")


class RowFile(NamedTuple):
    """An open file.

    Attributes:
        position: Returns how much of `total` has been read, in bytes or in rows.
    """

    columns: tuple[str, ...]
    rows: Iterator[Row]
    total: int
    position: Callable[[], int]


def detect_delimiter(path: Path, option: str | None) -> str:
    """Return the delimiter of a CSV file. Without the option, it is a tab for .tsv and a comma for other files.

    Raises:
        CommandError: The option is not a valid delimiter.
    """
    if option is None:
        return "\t" if path.suffix.lower() == ".tsv" else ","
    delimiter = "\t" if option == r"\t" else option
    if len(delimiter) != 1 or delimiter in '"\r\n':
        raise CommandError(
            rf"--delimiter {option!r}: expected one character such as ; or \t (a tab)",
            ExitCode.USAGE,
        )
    return delimiter


@contextmanager
def open_row_file(
    path: Path, format_: Format, delimiter: str, field_names: Sequence[str]
) -> Iterator[RowFile]:
    """Open a file, and read its rows as they are needed.

    Args:
        field_names: The columns to read from a file without a header row (JSON).

    Raises:
        CommandError: The file can't be read.
    """
    try:
        with path.open("rb") as file:
            total = path.stat().st_size
            head = file.peek(4)[:4]
            # In UTF-16 one byte of the first two characters is zero, or the file begins with a byte order mark.
            if format_ is not Format.PARQUET and (
                head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head
            ):
                raise CommandError(
                    f"{path}: expected UTF-8, but the file seems to be UTF-16: save it as UTF-8",
                    ExitCode.USAGE,
                )
            match format_:
                case Format.CSV:
                    yield _open_csv(file, total, path, delimiter)
                case Format.NDJSON:
                    yield RowFile(
                        tuple(field_names), _read_json_rows(file, field_names), total, file.tell
                    )
                case Format.PARQUET:
                    yield _open_parquet(file, path)
    except OSError as error:
        if error.filename not in {None, str(path), path}:
            raise
        raise CommandError(
            f"can't read {path}: {error.strerror or error}", ExitCode.USAGE
        ) from None


def _open_csv(file: BinaryIO, total: int, path: Path, delimiter: str) -> RowFile:
    # Bytes that are not UTF-8 make only their row invalid, not the whole file.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        lines = _LengthLimitedLines(text)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        heading = next(reader, None)
    except (csv.Error, TypeError) as error:
        raise CommandError(f"{path}: can't read the header row: {error}", ExitCode.USAGE) from None
    except _LineTooLongError:
        raise CommandError(f"{path}: the header row has {TOO_LONG}", ExitCode.USAGE) from None
    if lines.too_long:
        raise CommandError(f"{path}: the header row has {TOO_LONG}", ExitCode.USAGE)
    if not heading:
        raise CommandError(
            f"{path}: the first line must contain the names of the columns", ExitCode.USAGE
        )
    columns = tuple(name.strip() for name in heading)

    def get_position() -> int:
        # This function keeps a reference to `text`. Otherwise `text` would be garbage-collected after the last row, and
        # would close the file.
        buffer: BinaryIO = text.buffer
        return buffer.tell()

    return RowFile(
        columns, _read_csv_rows(reader, lines, delimiter, len(columns)), total, get_position
    )


class _LineTooLongError(Exception):
    """A row can't be read to its end: it exceeds `LINE_CHARACTERS_MAX`, and where it ends is unknown."""


class _LengthLimitedLines:
    """The lines of a text, none of them longer than `LINE_CHARACTERS_MAX`.

    Attributes:
        record: The lines that were read since `begin_record`.
        number: The number of all lines that were read.
        too_long: True if the record is a single line that exceeds the maximum and was truncated.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self._characters = 0
        self.record: list[str] = []
        self.number = 0
        self.too_long = False

    def begin_record(self) -> None:
        """Begin another record."""
        self.record.clear()
        self._characters = 0
        self.too_long = False

    def __iter__(self) -> _LengthLimitedLines:
        return self

    def __next__(self) -> str:
        line = self._text.readline(LINE_CHARACTERS_MAX)
        if not line:
            raise StopIteration
        self.number += 1
        self._characters += len(line)
        if len(line) == LINE_CHARACTERS_MAX and line[-1] not in "\r\n":
            line = self._truncate(line)
        elif self._characters > LINE_CHARACTERS_MAX:
            raise _LineTooLongError
        self.record.append(line)
        return line

    def _truncate(self, line: str) -> str:
        """Return the beginning of a line that is too long, and discard its rest."""
        marks = line.count('"')
        more = line
        while len(more) == LINE_CHARACTERS_MAX and more[-1] not in "\r\n":
            more = self._text.readline(LINE_CHARACTERS_MAX)
            marks += more.count('"')
        if self.record or marks % 2:
            raise _LineTooLongError
        self.too_long = True
        return line[:UNREADABLE_CHARACTERS_MAX].replace('"', "")


def _read_csv_rows(
    reader: Any, lines: _LengthLimitedLines, delimiter: str, width: int
) -> Iterator[Row]:
    """Yield the rows of a CSV file.

    Raises:
        UnreadableRowsError: The boundaries of the rows are unknown from some line on. Reading must stop there, because
            a uuid may be derived from the number of a row, and the numbers after this line would change when the file
            is corrected.
    """
    number = 0
    while True:
        lines.begin_record()
        first = lines.number + 1
        values, fault = _read_next_row(reader, lines, first)
        if values is None:
            return
        if not values and fault is None:
            continue  # an empty line
        number += 1
        if len(values) != width and fault is None:
            of_heading = f"{len(values)} columns, but the header row has {width}"
            if len(lines.record) > 1:
                raise UnreadableRowsError(
                    first, lines.number, f"they form one row with {of_heading}"
                )
            fault = f"has {of_heading}"
        following: Sequence[Sequence[str]] = ()
        if len(lines.record) > 1:
            following = list(
                csv.reader(lines.record[1:], delimiter=delimiter, quoting=csv.QUOTE_NONE)
            )
        yield Row(number, lines.number, values, fault, following)


def _read_next_row(
    reader: Any, lines: _LengthLimitedLines, first: int
) -> tuple[list[str] | None, str | None]:
    """Return the values of the next row, or None at the end, and the reason why the row can't be read."""
    try:
        values = next(reader, None)
    except _LineTooLongError:
        raise UnreadableRowsError(first, lines.number, TOO_LONG) from None
    except csv.Error as error:
        # A single line with paired quotation marks is one row, whatever is wrong with it.
        if len(lines.record) != 1 or lines.record[0].count('"') % 2:
            raise UnreadableRowsError(first, lines.number, str(error)) from None
        return _format_unreadable_values(lines), f"can't be read: {error}"
    return (
        (_format_unreadable_values(lines), f"can't be read: {TOO_LONG}")
        if lines.too_long
        else (values, None)
    )


def _format_unreadable_values(lines: _LengthLimitedLines) -> list[str]:
    return [lines.record[0].rstrip("\r\n")[:UNREADABLE_CHARACTERS_MAX]]


def _read_json_rows(file: BinaryIO, field_names: Sequence[str]) -> Iterator[Row]:
    number = line = 0
    while data := file.readline(LINE_BYTES_MAX):
        line += 1
        fault = None
        while not data.endswith(b"\n") and len(data) == LINE_BYTES_MAX:
            fault = f"has more than {LINE_BYTES_MAX:,} bytes"
            data = file.readline(LINE_BYTES_MAX)
        data = data.removeprefix(BOM)
        if not data.strip() and fault is None:
            continue
        number += 1
        fields: dict[str, Any] = {}
        if fault is None:
            try:
                fields = parse_object(data)
            except InvalidRequestError as error:
                fault = str(error)
        yield Row(number, line, [_format_value(fields.get(name)) for name in field_names], fault)


def _open_parquet(file: BinaryIO, path: Path) -> RowFile:
    parquet = import_pyarrow("pyarrow.parquet")
    try:
        opened = parquet.ParquetFile(file)
    except (ValueError, OSError) as error:
        raise CommandError(f"{path}: {error}", ExitCode.USAGE) from None
    columns = tuple(opened.schema_arrow.names)
    read = [0]
    floating = {
        field.name for field in opened.schema_arrow if str(field.type) in {"float", "double"}
    }

    def read_rows() -> Iterator[Row]:
        for batch in opened.iter_batches(batch_size=BATCH_ROWS):
            for values in zip(*map(_convert_column, batch.columns), strict=True):
                read[0] += 1
                texts = [
                    f"{value!r}{BINARY_FLOAT}"
                    if name in floating and value
                    else _format_value(value)
                    for name, value in zip(columns, values, strict=True)
                ]
                yield Row(read[0], read[0], texts)

    return RowFile(columns, read_rows(), opened.metadata.num_rows, lambda: read[0])


def _convert_column(column: Any) -> list[Any]:
    """Return the values of a Parquet column. Times are returned as text, because Python may have no type for them."""
    arrow = import_pyarrow("pyarrow")
    if not arrow.types.is_timestamp(column.type):
        return list(column.to_pylist())
    if column.type.tz is not None:
        column = column.cast(arrow.timestamp(column.type.unit, "UTC"))
    return list(column.cast(arrow.string()).to_pylist())


def _format_value(value: Any) -> str | None:
    match value:
        case None:
            return None
        case str():
            return value
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
