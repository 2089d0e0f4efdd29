"""Writing transactions to a file: CSV and newline-delimited JSON as they come, Parquet when all are there."""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, Final

import msgspec

from saldo.cli.exporting import Line
from saldo.cli.tables import Format, pyarrow
from saldo.ledger.time import parse_instant

GROUP_ROWS: Final = 65_536
"""Of a row group of a Parquet file: what is in memory at once."""

MONEY_DIGITS: Final = 18
"""Of a decimal128: a balance has at most these (`saldo.ledger.money`)."""

_encoder: Final = msgspec.json.Encoder()


def heading(format_: Format, columns: Sequence[str]) -> bytes:
    """What the file begins with."""
    return f"{','.join(columns)}\n".encode() if format_ is Format.CSV else b""


def encoded(format_: Format, columns: Sequence[str], lines: Sequence[Line]) -> bytes:
    """Transactions as they stand in the file; for Parquet, in the file that it is made of."""
    if format_ is Format.PARQUET:
        return _encoder.encode_lines(lines)
    rows = [[getattr(line, name) for name in columns] for line in lines]
    if format_ is Format.NDJSON:
        return _encoder.encode_lines([dict(zip(columns, row, strict=True)) for row in rows])
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue().encode()


def make_parquet(
    source: Path,
    target: BinaryIO,
    columns: Sequence[str],
    decimals: int,
    tell: Callable[[int], None],
) -> int:
    """A Parquet file of a file of JSON lines; how many rows it has.

    Args:
        columns: which, and in which order.
        decimals: of the currency.
        tell: told how many rows are written.
    """
    arrow, parquet = pyarrow("pyarrow"), pyarrow("pyarrow.parquet")
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
        for group in _groups(file):
            arrays = [
                arrow.array(_values(group, field.name, readers.get(field.type)), type=field.type)
                for field in schema
            ]
            writer.write_table(arrow.Table.from_arrays(arrays, schema=schema))
            rows += len(group)
            tell(rows)
    return rows


def _groups(file: BinaryIO) -> Iterator[list[Line]]:
    decoder = msgspec.json.Decoder(Line)
    group: list[Line] = []
    for line in file:
        group.append(decoder.decode(line))
        if len(group) == GROUP_ROWS:
            yield group
            group = []
    if group:
        yield group


def _values(group: Sequence[Line], name: str, read: Callable[[str], Any] | None) -> list[Any]:
    values = [getattr(line, name) for line in group]
    return values if read is None else [read(value) for value in values]
