"""What commands print: results on stdout, as tables or as JSON; everything else on stderr."""

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

from saldo.cli.clock import shown
from saldo.ledger.time import format_instant

RIGHT: Final = frozenset({"amount", "balance", "id", "user", "number", "deposit", "withdrawal"})
"""Columns of numbers."""


def note(line: str) -> None:
    """A line for the person, never a part of the result."""
    Console(stderr=True).print(line, soft_wrap=True, highlight=False, markup=False)


def say(line: str) -> None:
    """A line of the result."""
    Console().print(line, soft_wrap=True, highlight=False, markup=False)


def confirm(line: str, done: Mapping[str, Any], *, as_json: bool) -> None:
    """What was done: a line for people, or the same as JSON."""
    if as_json:
        print_json(done)
    else:
        say(line)


def print_json(value: Any) -> None:
    """One JSON document, on a line of its own, as the API writes it."""
    sys.stdout.write(msgspec.json.encode(plain(value)).decode() + "\n")
    sys.stdout.flush()


def plain(value: Any) -> Any:
    """Money as strings, times as RFC 3339 with an offset."""
    match value:
        case msgspec.Struct():
            return {name: plain(getattr(value, name)) for name in value.__struct_fields__}
        case Mapping():
            return {name: plain(each) for name, each in value.items()}
        case list() | tuple():
            return [plain(each) for each in value]
        case datetime():
            return format_instant(value)
        case Decimal():
            return format(value, "f")
        case _:
            return value


WIDTH_UNSEEN: Final = 160
"""Columns of text, where no terminal says how many there are: everything fits a line."""


def width() -> int:
    """Of what is printed, in characters."""
    console = Console()
    return console.width if console.is_terminal or "COLUMNS" in os.environ else WIDTH_UNSEEN


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """A table; wider than the terminal, it is folded, never cut."""
    table = Table(box=SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for column in columns:
        right = column in RIGHT
        justify: Literal["right", "left"] = "right" if right else "left"
        table.add_column(column, justify=justify, no_wrap=right, overflow="fold")
    for row in rows:
        table.add_row(*(written(each) for each in row))
    Console(width=width()).print(table)


def print_fields(pairs: Iterable[tuple[str, Any]]) -> None:
    """One thing: a name and a value a line."""
    table = Table(box=None, show_header=False, pad_edge=False)
    table.add_column(style="dim")
    table.add_column(overflow="fold")
    for name, value in pairs:
        table.add_row(name, written(value))
    Console().print(table)


def written(value: Any) -> str:
    """A value for people."""
    match value:
        case None:
            return ""
        case datetime():
            return shown(value)
        case Decimal():
            return money(value)
        case _:
            return str(value).replace("[", r"\[")


def money(amount: Decimal) -> str:
    """With thousands apart: 1,234.50."""
    return f"{amount:,f}"
