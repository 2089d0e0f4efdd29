"""Writers of export files.

CSV and newline-delimited JSON are written continuously, Parquet when all rows are fetched.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from saldo.cli.exporting.sources import ExportedTransaction
from saldo.cli.file_formats import Format, import_pyarrow
from saldo.encoding.json import encode_json_lines
from saldo.ledger.instants import parse_instant

GROUP_ROWS: Final = 65_536
"""Rows per row group of a Parquet file. One group is in memory at a time."""

MONEY_DIGITS: Final = 18
"""Precision of the decimal128 columns, which is the maximum number of digits of a balance (`saldo.ledger.money`)."""


def encode_header(format_: Format, columns: Sequence[str]) -> bytes:
    """Return the first bytes of the file: the header row of a CSV file."""
    return f"{','.join(columns)}\n".encode() if format_ is Format.CSV else b""


def encode_lines(
    format_: Format, columns: Sequence[str], lines: Sequence[ExportedTransaction]
) -> bytes:
    """Encode transactions for the file. For Parquet, encode them for the intermediate file, which is converted at the
    end."""
    if format_ is Format.PARQUET:
        return encode_json_lines(lines)
    rows = [[getattr(line, name) for name in columns] for line in lines]
    if format_ is Format.NDJSON:
        return encode_json_lines([dict(zip(columns, row, strict=True)) for row in rows])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def convert_to_parquet(
    source: Path,
    target: BinaryIO,
    columns: Sequence[str],
    decimals: int,
    report_progress: Callable[[int], None],
) -> int:
    """Convert a file of JSON lines to Parquet, and return the number of rows.

    Args:
        columns: The columns to write, in this order.
        decimals: The number of decimals of the currency.
        report_progress: A function that is called with the number of rows that were written so far.
    """
    arrow, parquet = import_pyarrow("pyarrow"), import_pyarrow("pyarrow.parquet")
    money, moment = arrow.decimal128(MONEY_DIGITS, decimals), arrow.timestamp("us", tz="UTC")
    types = {
        "amount": money,
        "balance": money,
        "timestamp": moment,
        "recorded_at": moment,
        "user_id": arrow.int64(),
        "number": arrow.int64(),
    }
    schema = arrow.schema([(name, types.get(name, arrow.string())) for name in columns])
    readers: dict[Any, Callable[[str], Any]] = {
        money: Decimal,
        moment: lambda text: parse_instant(text, None),
    }
    rows = 0
    with (
        parquet.ParquetWriter(target, schema, compression="zstd") as writer,
        source.open("rb") as file,
    ):
        for group in _read_groups(file):
            arrays = [
                arrow.array(
                    _convert_column(group, field.name, readers.get(field.type)), type=field.type
                )
                for field in schema
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            rows += len(group)
            report_progress(rows)
    return rows


def _read_groups(file: BinaryIO) -> Iterator[list[ExportedTransaction]]:
    decoder = msgspec.json.Decoder(ExportedTransaction)
    group: list[ExportedTransaction] = []
    for line in file:
        group.append(decoder.decode(line))
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _convert_column(
    group: Sequence[ExportedTransaction], name: str, parse: Callable[[str], Any] | None
) -> list[Any]:
    values = [getattr(line, name) for line in group]
    return values if parse is None else [parse(value) for value in values]
