"""`saldo statement` shows a user's account statement for a period, or writes it as CSV or PDF."""

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
from rich.table import Table

from saldo.cli.connection.service import Key, KeyFile, Local, ServiceOptions, Url, connect
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json, UserId
from saldo.cli.output import (
    create_console,
    format_amount,
    format_count,
    format_value,
    print_json,
    print_line,
)
from saldo.cli.private_files import write_atomically
from saldo.cli.statements.account_statement import AccountStatement, StatementPeriod, read_statement
from saldo.cli.times import format_time, load_time_zone, parse_optional_time, parse_time_option
from saldo.ledger.instants import format_instant


class StatementFormat(StrEnum):
    """The format of a statement."""

    TABLE = "table"
    CSV = "csv"
    PDF = "pdf"


_MONTH = re.compile(r"(\d{4})-(\d\d)", re.ASCII)


def statement(
    user_id: UserId,
    month: Annotated[
        str | None,
        typer.Option(
            help="Month of the statement, such as 2026-01. Alternatively use --from and --to."
        ),
    ] = None,
    since: Annotated[str | None, typer.Option("--from", help="Start of the period.")] = None,
    until: Annotated[
        str | None,
        typer.Option(
            "--to", help="End of the period, which is excluded. The default is the current time."
        ),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to write, .csv or .pdf. The default is stdout."),
    ] = None,
    format_: Annotated[
        StatementFormat | None,
        typer.Option(
            "--format",
            help="Format of the statement. The default follows from the file's name, and is a table on stdout.",
        ),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            help="Statement as it was known at this time, without transactions that were recorded later. Such a "
            "statement never "
            "changes."
        ),
    ] = None,
    refused: Annotated[
        bool,
        typer.Option(
            "--refused", help="Also show refused transactions. They do not affect the balances."
        ),
    ] = False,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Show a user's account statement for a period.

    The statement contains the opening balance, the entries and the closing balance. Entries are sorted by the time at
    which they took effect, and each has the balance after it. An entry is late if it was recorded after the end of the
    period, or after an entry that took effect later. Days are days in SALDO_TIMEZONE, or else in this machine's time
    zone.
    """
    form = _select_format(format_, output, as_json=json_)
    period = _parse_period(month, since, until)
    if form is StatementFormat.PDF:
        from saldo.cli.statements.pdf import check_installed  # noqa: PLC0415 - the package is an extra

        check_installed()
    known_time = parse_optional_time("--known-at", known_at)
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        statement_ = read_statement(service, user_id, period, known_time, include_refused=refused)
    if json_:
        print_json(build_statement_document(statement_))
        return
    match form:
        case StatementFormat.TABLE:
            _print_statement(statement_)
        case StatementFormat.CSV:
            _write_output(output, format_statement_csv(statement_).encode())
        case StatementFormat.PDF:
            from saldo.cli.statements.pdf import render_pdf  # noqa: PLC0415 - the package is an extra

            _write_output(
                output,
                render_pdf(statement_, datetime.now(load_time_zone()).astimezone(load_time_zone())),
            )
    if output is not None:
        print_line(
            f"{output}: {format_count(len(statement_.entries), 'entry')}, "
            f"from {format_amount(statement_.opening)} to {format_amount(statement_.closing)}"
        )


def build_statement_document(statement: AccountStatement) -> dict[str, Any]:
    """Return the statement as `--json` prints it."""
    return {
        "user": {"id": statement.user.id, "name": statement.user.name},
        "from": statement.period.begin,
        "to": statement.period.end,
        "known_at": statement.known_at,
        "opening_balance": statement.opening,
        "deposited": sum(statement.deposits, start=statement.opening * 0),
        "withdrawn": -sum(statement.withdrawals, start=statement.opening * 0),
        "closing_balance": statement.closing,
        "entries": [each._asdict() for each in statement.entries],
    }


def format_statement_csv(statement: AccountStatement) -> str:
    """Return the statement as CSV. Each entry is a line, and the first and the last line are the balances."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(
        ("timestamp", "entry", "amount", "balance", "late", "number", "uuid", "recorded_at")
    )
    rows.writerow(
        (
            format_instant(statement.period.begin),
            "OPENING",
            "",
            format_amount(statement.opening),
            "",
            "",
            "",
            "",
        )
    )
    for each in statement.entries:
        kind = "DEPOSIT" if each.amount > 0 else "WITHDRAW"
        rows.writerow(
            (
                format_instant(each.timestamp),
                kind if each.is_posted else f"{kind} {each.outcome}",
                format_amount(each.amount),
                format_amount(each.balance),
                "late" if each.late else "",
                each.number,
                each.uuid,
                format_instant(each.recorded_at),
            )
        )
    rows.writerow(
        (
            format_instant(statement.period.end),
            "CLOSING",
            "",
            format_amount(statement.closing),
            "",
            "",
            "",
            "",
        )
    )
    return text.getvalue()


def _print_statement(statement: AccountStatement) -> None:
    print_line(f"{statement.user.name}, user {statement.user.id}")
    print_line(f"from {format_time(statement.period.begin)} to {format_time(statement.period.end)}")
    table = Table(box=SIMPLE_HEAD, pad_edge=False, show_footer=True)
    table.add_column("timestamp", footer="closing balance")
    table.add_column("")
    for name, footer in (
        ("withdrawal", format_amount(-sum(statement.withdrawals, start=statement.opening * 0))),
        ("deposit", format_amount(sum(statement.deposits, start=statement.opening * 0))),
        ("balance", format_amount(statement.closing)),
    ):
        table.add_column(name, justify="right", no_wrap=True, footer=footer)
    table.add_row("opening balance", "", "", "", format_amount(statement.opening))
    for each in statement.entries:
        amount = format_amount(abs(each.amount))
        columns = ("", amount) if each.amount > 0 else (amount, "")
        mark = "" if each.is_posted else each.outcome
        table.add_row(
            format_value(each.timestamp),
            mark or ("late" if each.late else ""),
            *columns,
            format_amount(each.balance),
            style=None if each.is_posted else "dim",
        )
    create_console().print(table)


def _select_format(
    option: StatementFormat | None, output: Path | None, *, as_json: bool
) -> StatementFormat:
    if as_json:
        if output is not None or option is not None:
            raise CommandError("--json can't be combined with --output or --format", ExitCode.USAGE)
        return StatementFormat.TABLE
    suffix = "" if output is None else output.suffix.lower().removeprefix(".")
    form = option or (
        StatementFormat(suffix) if suffix in {"csv", "pdf"} else StatementFormat.TABLE
    )
    if form is StatementFormat.TABLE and output is not None:
        raise CommandError(
            f"--output {output}: expected a file name that ends in .csv or .pdf", ExitCode.USAGE
        )
    if form is StatementFormat.PDF and output is None and sys.stdout.isatty():
        raise CommandError("a PDF can't be written to a terminal: use --output", ExitCode.USAGE)
    return form


def _parse_period(month: str | None, since: str | None, until: str | None) -> StatementPeriod:
    if (month is None) is (since is None) or (month is not None and until is not None):
        raise CommandError(
            "a period is required: --month, or --from and optionally --to", ExitCode.USAGE
        )
    if since is not None:
        end = parse_optional_time("--to", until) or datetime.now(load_time_zone()).astimezone()
        period = StatementPeriod(parse_time_option("--from", since), end)
    else:
        match = _MONTH.fullmatch(month or "")
        if match is None or not 1 <= int(match[2]) <= 12:
            raise CommandError(
                f"--month {month!r}: expected a month such as 2026-01", ExitCode.USAGE
            )
        months = int(match[1]) * 12 + int(match[2])
        following = f"{months // 12:04}-{months % 12 + 1:02}-01"
        period = StatementPeriod(
            parse_time_option("--month", f"{month}-01"), parse_time_option("--month", following)
        )
    if period.begin >= period.end:
        raise CommandError("the period is empty: --from must be before --to", ExitCode.USAGE)
    return period


def _write_output(output: Path | None, data: bytes) -> None:
    if output is None:
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
        return
    try:
        with write_atomically(output) as file:
            file.write(data)
    except OSError as error:
        raise CommandError(f"can't write {output}: {error.strerror}", ExitCode.USAGE) from None
