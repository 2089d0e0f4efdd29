"""Amounts in every output: each can be given to `saldo deposit` or `saldo withdraw` as it is printed."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from contextlib import redirect_stdout
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from harness.repository import ROOT
from saldo.cli import output
from saldo.cli.balance_plot import PlotPoint, draw_chart
from saldo.cli.commands import statement, transactions
from saldo.cli.commands.watch import _EventPrinter
from saldo.cli.importing.row_counts import ImportSummary, RowCounts
from saldo.cli.statements.account_statement import (
    AccountStatement,
    StatementEntry,
    StatementPeriod,
)
from saldo.client.models import Event, Transaction, TransactionData, User
from saldo.client.payloads import Deposit
from saldo.ledger.money import AMOUNT_MAX, parse_amount

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
UUID_ = UUID("ea3015b1-c25c-47e5-beb7-2679ac7c89a7")


def _print_transactions(amount: Decimal) -> None:
    for kind in ("DEPOSIT", "WITHDRAW"):
        found = Transaction(UUID_, kind, amount, 1, BEGIN, "posted", amount, 1, BEGIN)
        output.print_table(transactions.COLUMNS, [transactions.format_table_row(found)])


def _print_events(amount: Decimal) -> None:
    printer = _EventPrinter()
    for kind in ("DEPOSIT", "WITHDRAW"):
        for outcome in ("posted", "insufficient_funds"):
            data = TransactionData(
                *(UUID_, kind, amount, 1, BEGIN, outcome, amount, 1, BEGIN, 0, 1)
            )
            printer.print(Event("1", "saldo.transaction.posted", BEGIN, data, ""))


def _account_statement(amount: Decimal) -> AccountStatement:
    entries = [
        StatementEntry(BEGIN, BEGIN, signed, amount, 1, str(UUID_), "posted", False)
        for signed in (amount, -amount)
    ]
    period = StatementPeriod(BEGIN, BEGIN + timedelta(days=1))
    user = User(1, "user-5120", amount, BEGIN)
    return AccountStatement(user, period, None, amount, entries, amount)


def _print_statement(amount: Decimal) -> None:
    statement._print_statement(_account_statement(amount))


def _print_chart(amount: Decimal) -> None:
    points = [PlotPoint(BEGIN, amount), PlotPoint(BEGIN + timedelta(days=1), amount)]
    for line in draw_chart(points, 80):
        output.print_line(line)


def _print_import(amount: Decimal) -> None:
    counts = RowCounts(rows=1, posted=1, deposited=amount, withdrawn=amount)
    ImportSummary(counts, 0, None, 1.0, None).print(dry_run=False, as_json=False)


def _print_import_document(amount: Decimal) -> None:
    counts = RowCounts(rows=1, posted=1, deposited=amount, withdrawn=amount)
    ImportSummary(counts, 0, None, 1.0, None).print(dry_run=False, as_json=True)


OUTPUTS: list[Callable[[Decimal], None]] = [
    lambda amount: output.print_line(output.format_amount(amount)),
    lambda amount: output.print_fields([("balance", amount)]),
    lambda amount: output.print_table(("id", "balance"), [(1, amount)]),
    lambda amount: output.print_json({"balance": amount}),
    lambda amount: output.print_json(
        statement.build_statement_document(_account_statement(amount))
    ),
    lambda amount: output.print_line(statement.format_statement_csv(_account_statement(amount))),
    *(_print_transactions, _print_events, _print_statement, _print_chart),
    *(_print_import, _print_import_document),
]


@pytest.mark.parametrize("show", OUTPUTS)
@settings(deadline=None, max_examples=25)
@given(st.integers(1, AMOUNT_MAX), st.integers(0, 8))
def test_printed_amount_can_be_entered(
    show: Callable[[Decimal], None], minor: int, decimals: int
) -> None:
    amount = Decimal(minor).scaleb(-decimals)
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        patch.setenv("COLUMNS", "300")
        show(amount)
    text = printed.getvalue()
    entered = f"{amount:f}"
    assert re.search(rf"(?<![\d.,]){re.escape(entered)}(?![\d.])", text), text
    # The same digits occur nowhere with separators between them.
    grouped = r"[,' \u00a0\u202f]?".join(entered.partition(".")[0])
    assert set(re.findall(rf"(?<![\d.]){grouped}(?=\.?\d*\b)", text)) <= {entered.partition(".")[0]}
    assert parse_amount(entered, decimals) == minor
    assert Deposit(1, entered).amount == entered


def test_only_one_function_formats_amounts() -> None:
    """Check that no module groups digits itself, except for counts and rates."""
    grouped = re.compile(r"\{[^{}]*(amount|balance|opening|closing|deposited|withdrawn)[^{}]*:,")
    found = [
        path.name
        for path in Path(ROOT / "src/saldo/cli").rglob("*.py")
        if grouped.search(path.read_text())
    ]
    assert found == []


@pytest.mark.parametrize("text", ["1,234.50", "1 234.50", "1'234.50", "1234,50"])
def test_grouped_amount_is_rejected(text: str) -> None:
    with pytest.raises(ValueError, match="digits and at most one point"):
        parse_amount(text, 2)
