"""`saldo statement`: a period's account statement, whose entries lead from the opening to the closing balance."""

from __future__ import annotations

import csv
import io
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from harness.program.command import Program
from harness.transaction_files import deposits, write_csv
from saldo.cli.exit_codes import ExitCode
from saldo.cli.statements.account_statement import AccountStatement, StatementEntry, StatementPeriod
from saldo.cli.statements.pdf import render_pdf
from saldo.client.models import User

pypdf = pytest.importorskip("pypdf")
fpdf = pytest.importorskip("fpdf")

NOON = datetime(2026, 1, 20, 12, tzinfo=UTC)


def statement_of(
    name: str, closing: str, *, late: bool, outcome: str = "posted"
) -> AccountStatement:
    """Return a statement with one withdrawal in January."""
    balance = Decimal(closing)
    amount = Decimal("-99999999999.99")
    entry = StatementEntry(NOON, NOON, amount, balance, 1, str(uuid4()), outcome, late)
    period = StatementPeriod(datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 2, 1, tzinfo=UTC))
    return AccountStatement(User(7, name, balance, NOON), period, None, balance, [entry], balance)


@pytest.fixture
def user(saldo: Program) -> str:
    """Return a user with 100 at the start of January and 130.50 at its end, whose entries were recorded later."""
    user_id = saldo.user(f"счёт-4711 {uuid4()}")
    for command, amount, day in (
        ("deposit", "100", "2025-12-31T23:59:59Z"),
        ("deposit", "50.50", "2026-01-01T00:00:00Z"),
        ("withdraw", "20", "2026-01-20T12:00:00Z"),
        ("deposit", "7", "2026-02-01T00:00:00Z"),
    ):
        saldo(command, user_id, amount, "--timestamp", day)
    saldo("withdraw", user_id, "1000", "--timestamp", "2026-02-02", code=ExitCode.REFUSED)
    return user_id


def test_statement_of_a_month(saldo: Program, user: str) -> None:
    found = saldo("statement", user, "--month", "2026-01", "--json").json
    assert (found["opening_balance"], found["closing_balance"]) == ("100.00", "130.50")
    assert (found["deposited"], found["withdrawn"]) == ("50.50", "20.00")
    assert [(each["amount"], each["balance"]) for each in found["entries"]] == [
        ("50.50", "150.50"),
        ("-20.00", "130.50"),
    ]
    table = saldo("statement", user, "--month", "2026-01").output
    assert "счёт-4711" in table
    assert table.index("opening balance") < table.index("150.50") < table.index("closing balance")


def test_refused_transactions_are_shown_with_the_option_refused(saldo: Program, user: str) -> None:
    month = ("statement", user, "--month", "2026-02", "--json")
    assert len(saldo(*month).json["entries"]) == 1
    found = saldo(*month, "--refused").json
    refused = [each["outcome"] for each in found["entries"] if each["outcome"] != "posted"]
    assert refused == ["insufficient_funds"]
    assert found["closing_balance"] == "137.50"


def test_as_it_was_known(saldo: Program, user: str) -> None:
    known_at = saldo("transactions", user, "--limit", "1", "--json").lines[0]["recorded_at"]
    listed = [line["number"] for line in saldo("transactions", user, "--json").lines]
    saldo("deposit", user, "9", "--timestamp", "2026-01-15T00:00:00Z")
    known = saldo("transactions", user, "--known-at", known_at, "--json").lines
    assert [line["number"] for line in known] == listed
    month = ("statement", user, "--month", "2026-01", "--json")
    assert saldo(*month).json["closing_balance"] == "139.50"
    before = saldo(*month, "--known-at", known_at).json
    assert (before["closing_balance"], len(before["entries"])) == ("130.50", 2)
    late = [each["late"] for each in saldo(*month).json["entries"]]
    assert late == [True] * 3  # all were recorded after the month had ended


def test_csv(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "january.csv"
    saldo("statement", user, "--month", "2026-01", "-o", str(file))
    rows = list(csv.DictReader(io.StringIO(file.read_text())))
    assert [(row["entry"], row["amount"], row["balance"]) for row in rows] == [
        ("OPENING", "", "100.00"),
        ("DEPOSIT", "50.50", "150.50"),
        ("WITHDRAW", "-20.00", "130.50"),
        ("CLOSING", "", "130.50"),
    ]


def test_pdf(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "january.pdf"
    saldo("statement", user, "--month", "2026-01", "-o", str(file))
    (page,) = pypdf.PdfReader(file).pages
    text = page.extract_text()
    for wanted in ("счёт-4711", "100.00", "150.50", "130.50", "20.00"):
        assert wanted in text
    # The size is A4, in points.
    assert (round(page.mediabox.width), round(page.mediabox.height)) == (595, 842)


@pytest.fixture
def _utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SALDO_TIMEZONE", "UTC")


@pytest.mark.usefixtures("_utc")
@pytest.mark.parametrize("late", [False, True])
@pytest.mark.parametrize("outcome", ["posted", "insufficient_funds"])
def test_no_text_in_the_pdf_is_wider_than_its_cell(
    monkeypatch: pytest.MonkeyPatch, outcome: str, late: bool
) -> None:
    drawn: list[str] = []
    cell = fpdf.FPDF.cell

    def measure_cell(pdf: Any, width: float, height: float, text: str, **options: Any) -> Any:
        room = width or pdf.w - pdf.r_margin - pdf.x
        # The placeholder of the number of pages is replaced later.
        if "{nb}" not in text:
            assert pdf.get_string_width(text) <= room, text
            drawn.append(text)
        return cell(pdf, width, height, text, **options)

    monkeypatch.setattr(fpdf.FPDF, "cell", measure_cell)
    found = statement_of("W" * 200, "18765432097531.08", late=late, outcome=outcome)
    render_pdf(found, NOON)
    assert "18765432097531.08" in drawn
    assert ("recorded 2026-01-20 12:00:00" in drawn) is late


def test_letters_missing_in_the_font_are_marked(
    capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    data = render_pdf(statement_of("Li 李 😀", "1.00", late=False), NOON)
    (page,) = pypdf.PdfReader(io.BytesIO(data)).pages
    assert "Li \N{REPLACEMENT CHARACTER} \N{REPLACEMENT CHARACTER}" in page.extract_text()
    assert capfd.readouterr().err.count("\n") == 1
    assert not caplog.records


def test_pdf_with_several_pages_repeats_its_header(saldo: Program, tmp_path: Path) -> None:
    user_id = saldo.user(f"busy {uuid4()}")
    lines = [
        (*line[:4], f"2026-01-10T{n // 60:02}:{n % 60:02}:00Z")
        for n, line in enumerate(deposits(200, [user_id], seed=int(user_id)))
    ]
    saldo("import", str(write_csv(tmp_path / "busy.csv", lines)))
    file = tmp_path / "busy.pdf"
    saldo("statement", user_id, "--month", "2026-01", "-o", str(file))
    pages = [page.extract_text() for page in pypdf.PdfReader(file).pages]
    assert len(pages) > 3
    for number, text in enumerate(pages, start=1):
        assert "Balance" in text
        assert f"{number} of {len(pages)}" in text
    balance = str(saldo.balance(user_id))
    assert balance in pages[0]
    assert balance in pages[-1]


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ((), "--month"),
        (("--month", "2026-13"), "--month"),
        (("--month", "2026-01", "--from", "2026-01-01"), "--month"),
        (("--from", "2026-01-31", "--to", "2026-01-31"), "--from must be before --to"),
        (("--month", "2026-01", "-o", "a.txt"), "--output"),
        (("--month", "2026-01", "-o", "a.csv", "--json"), "--json"),
    ],
)
def test_wrong_options(options: tuple[str, ...], named: str) -> None:
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    assert named in nobody("statement", "1", *options, code=ExitCode.USAGE).errors
