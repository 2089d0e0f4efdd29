"""`saldo statement`: a user's account in a period, to be read, counted with, or printed."""

from __future__ import annotations

import csv
import io
import re
import sys
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table

from saldo.cli.clock import instant, optional_instant, shown, zone
from saldo.cli.connecting import Key, KeyFile, Target, Url, connected
from saldo.cli.exits import CommandError, Exit
from saldo.cli.options import Json, UserId
from saldo.cli.output import money, print_json, say, written
from saldo.cli.statements import Period, Statement, read_statement
from saldo.ledger.time import format_instant


class Form(StrEnum):
    """How it is written."""

    TABLE = "table"
    CSV = "csv"
    PDF = "pdf"


_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


def statement(
    user_id: UserId,
    month: Annotated[
        str | None, typer.Option(help="The period: a month, such as 2026-01. Or --from and --to.")
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="The first moment of it.")] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="The first moment after it. Not given: now.")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="A file, .csv or .pdf. Not given: stdout.")
    ] = None,
    format_: Annotated[
        Form | None,
        typer.Option("--format", help="Not given: by the name of the file, or a table."),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(help="As it was known then: the same statement again, whatever came later."),
    ] = None,
    refused: Annotated[
        bool, typer.Option("--refused", help="Show refused transactions, too; they don't count.")
    ] = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Show a user's account in a period: opening balance, entries, closing balance.

    Entries stand in the order in which they took effect, each with the balance after it. One is late when it was
    recorded after the period's end, or after an entry that took effect later. Days are those of SALDO_ZONE, or else of
    this machine's zone.
    """
    form = _form(format_, output, as_json=json_)
    period = _period(month, since, until)
    if form is Form.PDF:
        from saldo.cli.statement_pdf import check_installed  # noqa: PLC0415 - of an extra

        check_installed()
    known = optional_instant("--known-at", known_at)
    with connected(Target(url, key, key_file)) as service:
        found = read_statement(service, user_id, period, known, refused=refused)
    if json_:
        print_json(as_object(found))
        return
    match form:
        case Form.TABLE:
            _print(found)
        case Form.CSV:
            _write(output, as_csv(found).encode())
        case Form.PDF:
            from saldo.cli.statement_pdf import as_pdf  # noqa: PLC0415 - of an extra

            _write(output, as_pdf(found, datetime.now(zone()).astimezone(zone())))
    if output is not None:
        say(
            f"{output}: {len(found.entries):,} entries, from {money(found.opening)} to {money(found.closing)}"
        )


def as_object(found: Statement) -> dict[str, Any]:
    """The statement as `--json` prints it."""
    return {
        "user": {"id": found.user.id, "name": found.user.name},
        "from": found.period.begin,
        "to": found.period.end,
        "known_at": found.known_at,
        "opening_balance": found.opening,
        "deposited": sum(found.deposits, start=found.opening * 0),
        "withdrawn": -sum(found.withdrawals, start=found.opening * 0),
        "closing_balance": found.closing,
        "entries": [each._asdict() for each in found.entries],
    }


def as_csv(found: Statement) -> str:
    """A line an entry; the first and the last are the balances."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ("timestamp", "entry", "amount", "balance", "late", "number", "uuid", "recorded_at")
    )
    rows.writerow(
        (format_instant(found.period.begin), "OPENING", "", found.opening, "", "", "", "")
    )
    for each in found.entries:
        kind = "DEPOSIT" if each.amount > 0 else "WITHDRAW"
        rows.writerow(
            (
                format_instant(each.timestamp),
                kind if each.posted else f"{kind} {each.outcome}",
                each.amount,
                each.balance,
                "late" if each.late else "",
                each.number,
                each.uuid,
                format_instant(each.recorded_at),
            )
        )
    rows.writerow((format_instant(found.period.end), "CLOSING", "", found.closing, "", "", "", ""))
    return text.getvalue()


def _print(found: Statement) -> None:
    say(f"{found.user.name}, user {found.user.id}")
    say(f"from {shown(found.period.begin)} to {shown(found.period.end)}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("timestamp", footer="closing balance")
    table.add_column("")
    for name, footer in (
        ("withdrawal", money(-sum(found.withdrawals, start=found.opening * 0))),
        ("deposit", money(sum(found.deposits, start=found.opening * 0))),
        ("balance", money(found.closing)),
    ):
        table.add_column(name, justify="right", no_wrap=True, footer=footer)
    table.add_row("opening balance", "", "", "", money(found.opening))
    for each in found.entries:
        amount = money(abs(each.amount))
        columns = ("", amount) if each.amount > 0 else (amount, "")
        mark = "" if each.posted else each.outcome
        table.add_row(
            written(each.timestamp),
            mark or ("late" if each.late else ""),
            *columns,
            money(each.balance),
            style=None if each.posted else "dim",
        )
    Console().print(table)


def _form(given: Form | None, output: Path | None, *, as_json: bool) -> Form:
    if as_json:
        if output is not None or given is not None:
            raise CommandError("--json prints to stdout: without --output and --format", Exit.USAGE)
        return Form.TABLE
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    form = given or (Form(suffix) if suffix in {"csv", "pdf"} else Form.TABLE)
    if form is Form.TABLE and output is not None:
        raise CommandError(f"--output {output}: expected a name with .csv or .pdf", Exit.USAGE)
    if form is Form.PDF and output is None and sys.stdout.isatty():
        raise CommandError("a PDF is not for a terminal: give --output", Exit.USAGE)
    return form


def _period(month: str | None, since: str | None, until: str | None) -> Period:
    if (month is None) is (since is None) or (month is not None and until is not None):
        raise CommandError("give the period: --month, or --from and perhaps --to", Exit.USAGE)
    if since is not None:
        end = optional_instant("--to", until) or datetime.now(zone()).astimezone()
        period = Period(instant("--from", since), end)
    else:
        match = _MONTH.fullmatch(month or "")
        if match is None or not 1 <= int(match[2]) <= 12:
            raise CommandError(f"--month {month!r}: expected such as 2026-01", Exit.USAGE)
        months = int(match[1]) * 12 + int(match[2])
        following = f"{months // 12:04}-{months % 12 + 1:02}-01"
        period = Period(instant("--month", f"{month}-01"), instant("--month", following))
    if period.begin >= period.end:
        raise CommandError("the period must begin before it ends", Exit.USAGE)
    return period


def _write(output: Path | None, data: bytes) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        output.write_bytes(data)
    except OSError as error:
        raise CommandError(f"{output}: {error.strerror}", Exit.USAGE) from None
