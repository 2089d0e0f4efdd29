"""Output of commands: results go to stdout, as tables or as JSON, and everything else goes to stderr."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Literal

import msgspec
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from saldo.cli.times import format_time
from saldo.encoding.json import encode_json
from saldo.ledger.instants import format_instant

RIGHT_ALIGNED_COLUMNS: Final = frozenset(
    {"amount", "balance", "id", "user", "number", "deposit", "withdrawal"}
)
"""Columns that are aligned to the right because they contain numbers."""


def create_console(*, stderr: bool = False, width: int | None = None) -> Console:
    """Return a console that prints text as it is: names and keys may look like rich's markup or its emoji codes."""
    return Console(stderr=stderr, width=width, markup=False, emoji=False, highlight=False)


_JOINERS: Final = "\u200c\u200d"
"""Invisible characters between letters or emoji. They are printed unchanged, because they never change the order of a
line."""


def escape_control_characters(text: str) -> str:
    """Return a text that can't control the terminal: escape sequences and directional marks are written as codes."""
    return "".join(
        each if each.isprintable() or each in _JOINERS else f"\\u{ord(each):04x}" for each in text
    )


def print_note(line: str) -> None:
    """Print a line for the person at the terminal to stderr. It is not part of the result."""
    create_console(stderr=True).print(escape_control_characters(line), soft_wrap=True)


def print_line(line: str) -> None:
    """Print a line of the result."""
    create_console().print(escape_control_characters(line), soft_wrap=True)


def print_confirmation(line: str, document: Mapping[str, Any], *, as_json: bool) -> None:
    """Print what was done, as a line for people or as JSON."""
    if as_json:
        print_json(document)
    else:
        print_line(line)


def print_json(value: Any) -> None:
    """Print one JSON document on a line of its own, as the API writes it."""
    sys.stdout.write(encode_json(to_json_value(value)).decode() + "\n")
    sys.stdout.flush()


def to_json_value(value: Any) -> Any:
    """Convert a value for JSON: money to strings, and times to RFC 3339 with an offset."""
    match value:
        case msgspec.Struct():
            return {name: to_json_value(getattr(value, name)) for name in value.__struct_fields__}
        case Mapping():
            return {name: to_json_value(each) for name, each in value.items()}
        case list() | tuple():
            return [to_json_value(each) for each in value]
        case datetime():
            return format_instant(value)
        case Decimal():
            return format(value, "f")
        case _:
            return value


WIDTH_WITHOUT_TERMINAL: Final = 160
"""Characters per line if there is no terminal. A line of this width has space for all columns."""


def detect_output_width() -> int:
    """Return the width of the output, in characters."""
    shown_on = create_console()
    return (
        shown_on.width
        if shown_on.is_terminal or "COLUMNS" in os.environ
        else WIDTH_WITHOUT_TERMINAL
    )


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print a table. If it is wider than the terminal, its cells are wrapped and never truncated."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        right = column in RIGHT_ALIGNED_COLUMNS
        justify: Literal["right", "left"] = "right" if right else "left"
        table.add_column(column, justify=justify, no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(format_value(each) for each in row))
    create_console(width=detect_output_width()).print(table)


def print_fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """Print one object, with a name and a value per line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, format_value(value))
    create_console().print(table)


def format_value(value: Any) -> str:
    """Format a value for people."""
    match value:
        case None:
            return ""
        case datetime():
            return format_time(value)
        case Decimal():
            return format_amount(value)
        case _:
            return escape_control_characters(str(value))


def format_count(count: int, noun: str) -> str:
    """Format a number with its noun, such as 1 entry or 2,000 entries."""
    if count != 1:
        noun = f"{noun[:-1]}ies" if noun.endswith("y") else f"{noun}s"
    return f"{count:,} {noun}"


def format_amount(amount: Decimal) -> str:
    """Format an amount as the commands and the API accept it, without separators of thousands, such as 1234.50."""
    return f"{amount:f}"
