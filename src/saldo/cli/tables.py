"""Files of rows, read as a stream: CSV, newline-delimited JSON, Parquet. Every value is the text that stands there."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from types import ModuleType
from typing import Any, BinaryIO, Final, NamedTuple

from saldo.cli.exits import CommandError, Exit
from saldo.http.wire import InvalidError, parse_object

BATCH_ROWS: Final = 10_000
"""Of a Parquet file that are in memory at once."""

LINE_BYTES_MAX: Final = 1_048_576
"""Of a line of JSON: more is no row, and must not fill the memory."""

TOLD_CHARACTERS_MAX: Final = 100_000
"""Of a line of CSV that can't be read: it is put aside as one value, and a value has at most 131,072."""


class Format(StrEnum):
    """How a file is written."""

    CSV = "csv"
    NDJSON = "ndjson"
    PARQUET = "parquet"


_SUFFIXES: Final = {
    ".csv": Format.CSV,
    ".tsv": Format.CSV,
    ".ndjson": Format.NDJSON,
    ".jsonl": Format.NDJSON,
    ".parquet": Format.PARQUET,
}


class Row(NamedTuple):
    """A row.

    Attributes:
        number: from 1, the heading not counted.
        line: where it ends in the file, from 1; of a Parquet file its number.
        values: by column; None: nothing stands there.
        fault: why it can't be read; then `values` is what could be.
        following: of a row of several lines those after the first, each read by itself.
    """

    number: int
    line: int
    values: Sequence[str | None]
    fault: str | None = None
    following: Sequence[Sequence[str]] = ()


class UnreadableError(Exception):
    """From here on nobody can tell which rows there are; the message says which lines it is."""

    def __init__(self, first: int, last: int, why: str) -> None:
        lines = f"line {first}" if first == last else f"lines {first} to {last}"
        super().__init__(f"{lines} can't be read: {why}: a quotation mark isn't closed?")


class Table(NamedTuple):
    """An open file. position: how much of `total` has been read, in bytes or in rows."""

    columns: tuple[str, ...]
    rows: Iterator[Row]
    total: int
    position: Callable[[], int]


def format_of(path: Path, given: Format | None) -> Format:
    """What the option says, or else the file's name.

    Raises:
        CommandError: neither does.
    """
    found = given or _SUFFIXES.get(path.suffix.lower())
    if found is None:
        raise CommandError(
            f"{path}: its name does not say how it is written; give --format", Exit.USAGE
        )
    return found


def delimiter_of(path: Path, given: str | None) -> str:
    """Of a CSV: what the option says, or else a tab for .tsv, and a comma.

    Raises:
        CommandError: it is none.
    """
    if given is None:
        return "\t" if path.suffix.lower() == ".tsv" else ","
    found = "\t" if given == r"\t" else given
    if len(found) != 1 or found in '"\r\n':
        raise CommandError(
            rf"--delimiter {given!r}: expected one character, such as ; or \t for a tab", Exit.USAGE
        )
    return found


@contextmanager
def open_table(
    path: Path, format_: Format, delimiter: str, wanted: Sequence[str]
) -> Iterator[Table]:
    """The rows of a file.

    Args:
        wanted: the names to look for where a file has no heading (JSON).

    Raises:
        CommandError: it can't be read.
    """
    try:
        with path.open("rb") as file:
            total = path.stat().st_size
            head = file.peek(4)[:4]
            # Of the first two characters one byte is zero, or the mark of an order of bytes stands before them.
            if format_ is not Format.PARQUET and (
                head.startswith((b"\xff\xfe", b"\xfe\xff")) or b"\0" in head
            ):
                raise CommandError(f"{path}: not UTF-8, but UTF-16 perhaps", Exit.USAGE)
            match format_:
                case Format.CSV:
                    yield _csv(file, total, path, delimiter)
                case Format.NDJSON:
                    yield Table(tuple(wanted), _json_rows(file, wanted), total, file.tell)
                case Format.PARQUET:
                    yield _parquet(file, path)
    except OSError as error:
        if error.filename not in {None, str(path), path}:
            raise
        raise CommandError(f"{path}: {error.strerror or error}", Exit.USAGE) from None


def pyarrow(name: str) -> ModuleType:
    """A module of pyarrow, an extra.

    Raises:
        CommandError: it is not installed.
    """
    from importlib import import_module  # noqa: PLC0415 - beside what it loads

    try:
        return import_module(name)
    except ImportError:
        raise CommandError(
            "Parquet needs the extra: pip install 'saldo[parquet]'", Exit.USAGE
        ) from None


def _csv(file: BinaryIO, total: int, path: Path, delimiter: str) -> Table:
    # What is no UTF-8 makes one row bad, not the file.
    text = io.TextIOWrapper(file, "utf-8-sig", errors="surrogateescape", newline="")
    try:
        lines = _Lines(text)
        reader = csv.reader(lines, delimiter=delimiter, strict=True)
        heading = next(reader, None)
    except (csv.Error, TypeError) as error:
        raise CommandError(f"{path}: {error}", Exit.USAGE) from None
    if not heading:
        raise CommandError(f"{path}: its first line must name the columns", Exit.USAGE)
    columns = tuple(name.strip() for name in heading)

    def position() -> int:
        # Of the text: it closes the file when nobody needs it any more, and after the last row nobody else would.
        buffer: BinaryIO = text.buffer
        return buffer.tell()

    return Table(columns, _csv_rows(reader, lines, delimiter, len(columns)), total, position)


class _Lines:
    """The lines of a text.

    Attributes:
        record: those that were read since it was cleared.
    """

    def __init__(self, text: io.TextIOWrapper) -> None:
        self._text = text
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        line = next(self._text)
        self.record.append(line)
        return line


def _csv_rows(reader: Any, lines: _Lines, delimiter: str, width: int) -> Iterator[Row]:
    """
    Raises:
        UnreadableError: the rows after this place can't be told apart. Numbers count on from row to row, and a uuid may
            be made of one: read on, and when the place is mended the rows after it have other numbers.
    """
    number = 0
    while True:
        lines.record.clear()
        first, fault = reader.line_num + 1, None
        try:
            values = next(reader, None)
        except csv.Error as error:
            # One line whose marks are in pairs is one row, whatever is wrong with it.
            if len(lines.record) != 1 or lines.record[0].count('"') % 2:
                raise UnreadableError(first, reader.line_num, str(error)) from None
            values = [lines.record[0].rstrip("\r\n")[:TOLD_CHARACTERS_MAX]]
            fault = f"can't be read: {error}"
        if values is None:
            return
        if not values and fault is None:
            continue  # an empty line
        number += 1
        if len(values) != width and fault is None:
            of_heading = f"{len(values)} columns, the heading has {width}"
            if len(lines.record) > 1:
                raise UnreadableError(first, reader.line_num, f"together they have {of_heading}")
            fault = f"has {of_heading}"
        following: Sequence[Sequence[str]] = ()
        if len(lines.record) > 1:
            following = list(
                csv.reader(lines.record[1:], delimiter=delimiter, quoting=csv.QUOTE_NONE)
            )
        yield Row(number, reader.line_num, values, fault, following)


def _json_rows(file: BinaryIO, wanted: Sequence[str]) -> Iterator[Row]:
    number = line = 0
    while data := file.readline(LINE_BYTES_MAX):
        line += 1
        fault = None
        while not data.endswith(b"\n") and len(data) == LINE_BYTES_MAX:
            fault = f"has more than {LINE_BYTES_MAX:,} bytes"
            data = file.readline(LINE_BYTES_MAX)
        if not data.strip() and fault is None:
            continue
        number += 1
        fields: dict[str, Any] = {}
        if fault is None:
            try:
                fields = parse_object(data)
            except InvalidError as error:
                fault = str(error)
        yield Row(number, line, [_text(fields.get(name)) for name in wanted], fault)


def _parquet(file: BinaryIO, path: Path) -> Table:
    parquet = pyarrow("pyarrow.parquet")
    try:
        opened = parquet.ParquetFile(file)
    except (ValueError, OSError) as error:
        raise CommandError(f"{path}: {error}", Exit.USAGE) from None
    columns = tuple(opened.schema_arrow.names)
    read = [0]
    floating = {
        field.name for field in opened.schema_arrow if str(field.type) in {"float", "double"}
    }

    def rows() -> Iterator[Row]:
        for batch in opened.iter_batches(batch_size=BATCH_ROWS):
            for values in zip(*map(_values, batch.columns), strict=True):
                read[0] += 1
                texts = [
                    f"{value!r} (a binary float)" if name in floating and value else _text(value)
                    for name, value in zip(columns, values, strict=True)
                ]
                yield Row(read[0], read[0], texts)

    return Table(columns, rows(), opened.metadata.num_rows, lambda: read[0])


def _values(column: Any) -> list[Any]:
    """Of a Parquet column. A time as text: it may be one that Python has no type for."""
    arrow = pyarrow("pyarrow")
    if not arrow.types.is_timestamp(column.type):
        return list(column.to_pylist())
    if column.type.tz is not None:
        column = column.cast(arrow.timestamp(column.type.unit, "UTC"))
    return list(column.cast(arrow.string()).to_pylist())


def _text(value: Any) -> str | None:
    match value:
        case None:
            return None
        case str():
            return value
        case datetime():
            return value.isoformat()
        case _:
            return str(value)
