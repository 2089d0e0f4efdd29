"""A printable statement as a PDF in A4.

It embeds a font, because the standard fonts of PDF readers have no Cyrillic letters.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.output import format_amount, print_note
from saldo.cli.statements.account_statement import AccountStatement, StatementEntry
from saldo.cli.times import format_time, load_time_zone
from saldo.ledger.instants import MICROSECOND

if TYPE_CHECKING:
    from fpdf import FPDF

FONTS: Final = Path(__file__).parents[1] / "fonts"
FONT: Final = "DejaVu"

MARGIN: Final = 18.0
"""Margin of the pages, which printers need. All lengths in this module are in millimetres."""

COLUMNS: Final = (("Date", 34.0), ("Entry", 62.0), ("Out", 25.0), ("In", 25.0), ("Balance", 28.0))
ROW_HEIGHT: Final = 8.6
MISSING_LETTER: Final = "\N{REPLACEMENT CHARACTER}"
"""Replacement for a letter that the font lacks. A blank would hide the missing letter."""

SMALL_FONT_SIZE: Final = 5.5
"""Font size of secondary text, in points."""

INK, GREY, LINE, SHADE = (28, 32, 40), (110, 116, 126), (205, 209, 216), (246, 247, 249)


def check_installed() -> None:
    """Check that the extra for PDF is installed.

    Raises:
        CommandError: The extra is not installed.
    """
    if find_spec("fpdf") is None:
        raise CommandError(
            "PDF files require an extra: pip install 'saldo-ledger[pdf]'", ExitCode.USAGE
        )


def render_pdf(statement: AccountStatement, made_at: datetime) -> bytes:
    """Return the statement as a PDF."""
    return _PdfStatement(statement, made_at).render()


class _PdfStatement:
    def __init__(self, statement: AccountStatement, made_at: datetime) -> None:
        from fpdf import FPDF  # noqa: PLC0415 - the package is an extra

        self._statement = statement
        self._made_at = made_at
        self._pdf: FPDF = FPDF(orientation="portrait", unit="mm", format="A4")
        pdf = self._pdf
        pdf.add_font(FONT, "", FONTS / "DejaVuSans.ttf")
        pdf.add_font(FONT, "B", FONTS / "DejaVuSans-Bold.ttf")
        pdf.set_margins(MARGIN, MARGIN, MARGIN)
        pdf.set_auto_page_break(False)
        name = _replace_control_characters(statement.user.name)
        pdf.set_title(f"Account statement, {name}")
        self._name = self._replace_missing_letters(name)
        pdf.set_creator("Saldo")
        pdf.set_creation_date(made_at)
        pdf.alias_nb_pages()

    def render(self) -> bytes:
        """Draw all pages and return the document."""
        self._begin_page()
        self._draw_title()
        self._draw_summary()
        self._draw_heading()
        self._draw_line(
            "", "Opening balance", "", "", format_amount(self._statement.opening), bold=True
        )
        last = len(self._statement.entries) - 1
        for place, entry in enumerate(self._statement.entries):
            # The closing balance must not be alone on a page.
            self._ensure_space(2 if place == last else 1)
            self._draw_entry(entry, shaded=place % 2 == 0)
        self._draw_line(
            "",
            "Closing balance",
            *self._format_sums(),
            format_amount(self._statement.closing),
            bold=True,
        )
        return bytes(self._pdf.output())

    def _replace_missing_letters(self, name: str) -> str:
        # Both styles have the same letters, so the regular one is sufficient.
        font: Any = self._pdf.fonts[FONT.lower()]
        letters = font.cmap
        drawn = "".join(letter if ord(letter) in letters else MISSING_LETTER for letter in name)
        if drawn != name:
            print_note(
                f"saldo: the font lacks some characters of the name, which are replaced by {MISSING_LETTER}"
            )
        return drawn

    @property
    def _bottom(self) -> float:
        return float(self._pdf.h - MARGIN - 10)

    def _begin_page(self) -> None:
        pdf = self._pdf
        pdf.add_page()
        self._set_font(7, GREY)
        pdf.set_xy(MARGIN, pdf.h - MARGIN)
        name = f"{self._name}, account {self._statement.user.id}"
        half = pdf.epw / 2
        pdf.cell(half, 4, _truncate(pdf, name, half - 2))
        pdf.cell(half, 4, f"Page {pdf.page_no()} of {{nb}}", align="R")
        pdf.set_xy(MARGIN, MARGIN)

    def _draw_title(self) -> None:
        pdf, statement = self._pdf, self._statement
        self._set_font(19, INK, bold=True)
        pdf.cell(0, 10, "Account statement")
        pdf.set_y(pdf.y + 13)
        last = statement.period.end - MICROSECOND
        pairs = [
            ("Account holder", self._name),
            ("Account", str(statement.user.id)),
            ("Period", f"{_format_day(statement.period.begin)} – {_format_day(last)}"),
            ("Time zone", _format_offset(statement.period.begin)),
            (
                "As known on",
                format_time(self._made_at if statement.known_at is None else statement.known_at),
            ),
        ]
        if not _covers_whole_days(statement):
            pairs[2] = (
                "Period",
                f"{format_time(statement.period.begin)} – {format_time(statement.period.end)}",
            )
        for name, value in pairs:
            self._set_font(8.5, GREY)
            pdf.cell(34, 5.4, name)
            self._set_font(8.5, INK)
            pdf.cell(0, 5.4, _truncate(pdf, value, pdf.epw - 36))
            pdf.set_y(pdf.y + 5.4)
        pdf.set_y(pdf.y + 5)

    def _draw_summary(self) -> None:
        pdf, statement = self._pdf, self._statement
        out, in_ = self._format_sums()
        boxes = (
            ("Opening balance", format_amount(statement.opening)),
            (f"In ({len(statement.deposits):,})", in_),
            (f"Out ({len(statement.withdrawals):,})", out),
            ("Closing balance", format_amount(statement.closing)),
        )
        width, top = pdf.epw / len(boxes), pdf.y
        pdf.set_fill_color(*SHADE)
        pdf.rect(MARGIN, top, pdf.epw, 17, style="F")
        for place, (name, value) in enumerate(boxes):
            pdf.set_xy(MARGIN + place * width + 3, top + 3)
            self._set_font(7.5, GREY)
            pdf.cell(width - 6, 4, name)
            pdf.set_xy(MARGIN + place * width + 3, top + 8)
            self._set_font(11, INK, bold=True)
            pdf.set_font_size(_find_fitting_size(pdf, value, width - 6, 11))
            pdf.cell(width - 6, 6, value)
        pdf.set_xy(MARGIN, top + 23)

    def _draw_heading(self) -> None:
        pdf = self._pdf
        self._set_font(7.5, GREY, bold=True)
        for name, width in COLUMNS:
            pdf.cell(width, 6, name, align="L" if name in {"Date", "Entry"} else "R")
        pdf.set_y(pdf.y + 6)
        pdf.set_draw_color(*INK)
        pdf.set_line_width(0.3)
        pdf.line(MARGIN, pdf.y, MARGIN + pdf.epw, pdf.y)

    def _draw_entry(self, entry: StatementEntry, *, shaded: bool) -> None:
        local = entry.timestamp.astimezone(load_time_zone())
        type_name = "Deposit" if entry.amount > 0 else "Withdrawal"
        if not entry.is_posted:
            type_name += ", refused"
        note = ""
        if entry.late:
            type_name += ", late"
            note = f"recorded {entry.recorded_at.astimezone(load_time_zone()):%Y-%m-%d %H:%M:%S}"
        amount = format_amount(abs(entry.amount))
        out, in_ = ("", amount) if entry.amount > 0 else (amount, "")
        self._draw_line(
            f"{local:%Y-%m-%d %H:%M:%S}",
            type_name,
            out,
            in_,
            format_amount(entry.balance),
            shaded=shaded,
            note=note,
            subtext=entry.uuid,
            grey=not entry.is_posted,
        )

    def _ensure_space(self, rows: int) -> None:
        """Begin a new page if the current one has no space for this number of rows."""
        if self._pdf.y + rows * ROW_HEIGHT > self._bottom:
            self._begin_page()
            self._draw_heading()

    def _draw_line(
        self,
        *texts: str,
        bold: bool = False,
        shaded: bool = False,
        note: str = "",
        subtext: str = "",
        grey: bool = False,
    ) -> None:
        """Draw a row of the table."""
        pdf = self._pdf
        top = pdf.y
        if shaded:
            pdf.set_fill_color(*SHADE)
            pdf.rect(MARGIN, top, pdf.epw, ROW_HEIGHT, style="F")
        left = MARGIN
        for place, ((_, width), text) in enumerate(zip(COLUMNS, texts, strict=True)):
            colour = GREY if grey else INK
            self._set_font(8, colour, bold=bold)
            pdf.set_xy(left, top)
            if place == 1:
                self._draw_description(text, note, subtext, width)
            else:
                if place > 1:
                    self._set_font(_find_fitting_size(pdf, text, width - 2, 8), colour, bold=bold)
                pdf.cell(width, ROW_HEIGHT, text, align="L" if place == 0 else "R")
            left += width
        pdf.set_draw_color(*LINE)
        pdf.set_line_width(0.1)
        pdf.line(MARGIN, top + ROW_HEIGHT, MARGIN + pdf.epw, top + ROW_HEIGHT)
        pdf.set_xy(MARGIN, top + ROW_HEIGHT)

    def _draw_description(self, text: str, note: str, subtext: str, width: float) -> None:
        """Draw the type of an entry, with the time of recording beside it and the uuid below it in small letters."""
        pdf = self._pdf
        if not subtext:
            pdf.cell(width, ROW_HEIGHT, text)
            return
        left, top = pdf.x, pdf.y
        text_width = (
            pdf.get_string_width(note) * SMALL_FONT_SIZE / pdf.font_size_pt + 3 if note else 0
        )
        room = width - 2 - text_width
        pdf.set_font_size(_find_fitting_size(pdf, text, room, 8))
        pdf.set_xy(left, top + 0.6)
        pdf.cell(room, 4.2, text)
        self._set_font(SMALL_FONT_SIZE, GREY)
        if note:
            pdf.set_xy(left + room, top + 0.8)
            pdf.cell(text_width, 4.2, note, align="R")
        pdf.set_xy(left, top + 4.6)
        pdf.cell(width, 3.2, subtext)

    def _format_sums(self) -> tuple[str, str]:
        """Return the sums of the withdrawals and of the deposits."""
        nothing = self._statement.opening * 0
        return (
            format_amount(-sum(self._statement.withdrawals, start=nothing)),
            format_amount(sum(self._statement.deposits, start=nothing)),
        )

    def _set_font(self, size: float, colour: Sequence[int], *, bold: bool = False) -> None:
        self._pdf.set_font(FONT, "B" if bold else "", size)
        self._pdf.set_text_color(*colour)


def _find_fitting_size(pdf: FPDF, text: str, width: float, size: float) -> float:
    """Return the font size at which a text fits, because an amount must never be truncated."""
    while size > 3 and pdf.get_string_width(text) * size / pdf.font_size_pt > width:
        size -= 0.25
    return size


def _truncate(pdf: FPDF, text: str, width: float) -> str:
    if pdf.get_string_width(text) <= width:
        return text
    while text and pdf.get_string_width(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _replace_control_characters(name: str) -> str:
    """Return a name as one line, in which control characters are replaced by spaces."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _format_day(moment: datetime) -> str:
    return f"{moment.astimezone(load_time_zone()):%Y-%m-%d}"


def _format_offset(moment: datetime) -> str:
    offset = f"{moment.astimezone(load_time_zone()):%z}"
    return f"UTC{offset[:3]}:{offset[3:]}, as at the beginning of the period"


def _covers_whole_days(statement: AccountStatement) -> bool:
    midnight = timedelta(0)
    for moment in statement.period:
        local = moment.astimezone(load_time_zone())
        passed = timedelta(
            hours=local.hour,
            minutes=local.minute,
            seconds=local.second,
            microseconds=local.microsecond,
        )
        if passed != midnight:
            return False
    return True
