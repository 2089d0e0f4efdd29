"""A statement as a PDF to be printed: A4, in a font of our own, since those of every PDF reader have no Cyrillic."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from saldo.cli.clock import shown, zone
from saldo.cli.exits import CommandError, Exit
from saldo.cli.output import money, note
from saldo.cli.statements import Entry, Statement
from saldo.ledger.time import MICROSECOND

if TYPE_CHECKING:
    from fpdf import FPDF

FONTS: Final = Path(__file__).parent / "fonts"
FONT: Final = "DejaVu"

MARGIN: Final = 18.0
"""Millimetres, as everything here: printers need some of it."""

COLUMNS: Final = (("Date", 34.0), ("Entry", 62.0), ("Out", 25.0), ("In", 25.0), ("Balance", 28.0))
ROW: Final = 8.6
UNKNOWN: Final = "\N{REPLACEMENT CHARACTER}"
"""For a letter that the font doesn't have: a blank would say that there is none."""

SMALL: Final = 5.5
"""Points, of what only who asks for it reads."""

INK, GREY, LINE, SHADE = (28, 32, 40), (110, 116, 126), (205, 209, 216), (246, 247, 249)


def check_installed() -> None:
    """
    Raises:
        CommandError: the extra is not installed.
    """
    if find_spec("fpdf") is None:
        raise CommandError("PDF needs the extra: pip install 'saldo[pdf]'", Exit.USAGE)


def as_pdf(found: Statement, made_at: datetime) -> bytes:
    """The document."""
    return _Pages(found, made_at).written()


class _Pages:
    def __init__(self, found: Statement, made_at: datetime) -> None:
        from fpdf import FPDF  # noqa: PLC0415 - of an extra

        self._found = found
        self._made_at = made_at
        self._pdf: FPDF = FPDF(orientation="portrait", unit="mm", format="A4")
        pdf = self._pdf
        pdf.add_font(FONT, "", FONTS / "DejaVuSans.ttf")
        pdf.add_font(FONT, "B", FONTS / "DejaVuSans-Bold.ttf")
        pdf.set_margins(MARGIN, MARGIN, MARGIN)
        pdf.set_auto_page_break(False)
        name = _printable(found.user.name)
        pdf.set_title(f"Account statement, {name}")
        self._name = self._drawable(name)
        pdf.set_creator("Saldo")
        pdf.set_creation_date(made_at)
        pdf.alias_nb_pages()

    def written(self) -> bytes:
        """All pages."""
        self._begin_page()
        self._title()
        self._summary()
        self._heading()
        self._line("", "Opening balance", "", "", money(self._found.opening), bold=True)
        last = len(self._found.entries) - 1
        for place, entry in enumerate(self._found.entries):
            # The closing balance is never alone on a page.
            self._make_room(2 if place == last else 1)
            self._entry(entry, shaded=place % 2 == 0)
        self._line("", "Closing balance", *self._sums(), money(self._found.closing), bold=True)
        return bytes(self._pdf.output())

    def _drawable(self, name: str) -> str:
        # Of both styles: they have the same.
        font: Any = self._pdf.fonts[FONT.lower()]
        letters = font.cmap
        drawn = "".join(letter if ord(letter) in letters else UNKNOWN for letter in name)
        if drawn != name:
            note(
                f"saldo: the font has not every letter of the name: {UNKNOWN} stands for each that is missing"
            )
        return drawn

    @property
    def _bottom(self) -> float:
        return float(self._pdf.h - MARGIN - 10)

    def _begin_page(self) -> None:
        pdf = self._pdf
        pdf.add_page()
        self._font(7, GREY)
        pdf.set_xy(MARGIN, pdf.h - MARGIN)
        name = f"{self._name}, account {self._found.user.id}"
        half = pdf.epw / 2
        pdf.cell(half, 4, _cut(pdf, name, half - 2))
        pdf.cell(half, 4, f"Page {pdf.page_no()} of {{nb}}", align="R")
        pdf.set_xy(MARGIN, MARGIN)

    def _title(self) -> None:
        pdf, found = self._pdf, self._found
        self._font(19, INK, bold=True)
        pdf.cell(0, 10, "Account statement")
        pdf.set_y(pdf.y + 13)
        last = found.period.end - MICROSECOND
        pairs = [
            ("Account holder", self._name),
            ("Account", str(found.user.id)),
            ("Period", f"{_day(found.period.begin)} – {_day(last)}"),
            ("Time zone", _offset(found.period.begin)),
            (
                "As known on",
                shown(self._made_at if found.known_at is None else found.known_at),
            ),
        ]
        if not _whole_days(found):
            pairs[2] = ("Period", f"{shown(found.period.begin)} – {shown(found.period.end)}")
        for name, value in pairs:
            self._font(8.5, GREY)
            pdf.cell(34, 5.4, name)
            self._font(8.5, INK)
            pdf.cell(0, 5.4, _cut(pdf, value, pdf.epw - 36))
            pdf.set_y(pdf.y + 5.4)
        pdf.set_y(pdf.y + 5)

    def _summary(self) -> None:
        pdf, found = self._pdf, self._found
        out, in_ = self._sums()
        boxes = (
            ("Opening balance", money(found.opening)),
            (f"In ({len(found.deposits):,})", in_),
            (f"Out ({len(found.withdrawals):,})", out),
            ("Closing balance", money(found.closing)),
        )
        width, top = pdf.epw / len(boxes), pdf.y
        pdf.set_fill_color(*SHADE)
        pdf.rect(MARGIN, top, pdf.epw, 17, style="F")
        for place, (name, value) in enumerate(boxes):
            pdf.set_xy(MARGIN + place * width + 3, top + 3)
            self._font(7.5, GREY)
            pdf.cell(width - 6, 4, name)
            pdf.set_xy(MARGIN + place * width + 3, top + 8)
            self._font(11, INK, bold=True)
            pdf.set_font_size(_fitting(pdf, value, width - 6, 11))
            pdf.cell(width - 6, 6, value)
        pdf.set_xy(MARGIN, top + 23)

    def _heading(self) -> None:
        pdf = self._pdf
        self._font(7.5, GREY, bold=True)
        for name, width in COLUMNS:
            pdf.cell(width, 6, name, align="L" if name in {"Date", "Entry"} else "R")
        pdf.set_y(pdf.y + 6)
        pdf.set_draw_color(*INK)
        pdf.set_line_width(0.3)
        pdf.line(MARGIN, pdf.y, MARGIN + pdf.epw, pdf.y)

    def _entry(self, entry: Entry, *, shaded: bool) -> None:
        local = entry.timestamp.astimezone(zone())
        what = "Deposit" if entry.amount > 0 else "Withdrawal"
        if not entry.posted:
            what += ", refused"
        beside = ""
        if entry.late:
            what += ", late"
            beside = f"recorded {entry.recorded_at.astimezone(zone()):%Y-%m-%d %H:%M:%S}"
        amount = money(abs(entry.amount))
        out, in_ = ("", amount) if entry.amount > 0 else (amount, "")
        self._line(
            f"{local:%Y-%m-%d %H:%M:%S}",
            what,
            out,
            in_,
            money(entry.balance),
            shaded=shaded,
            beside=beside,
            under=entry.uuid,
            grey=not entry.posted,
        )

    def _make_room(self, rows: int) -> None:
        """For so many of the table: a new page, if this one is too full."""
        if self._pdf.y + rows * ROW > self._bottom:
            self._begin_page()
            self._heading()

    def _line(
        self,
        *texts: str,
        bold: bool = False,
        shaded: bool = False,
        beside: str = "",
        under: str = "",
        grey: bool = False,
    ) -> None:
        """A row of the table."""
        pdf = self._pdf
        top = pdf.y
        if shaded:
            pdf.set_fill_color(*SHADE)
            pdf.rect(MARGIN, top, pdf.epw, ROW, style="F")
        left = MARGIN
        for place, ((_, width), text) in enumerate(zip(COLUMNS, texts, strict=True)):
            colour = GREY if grey else INK
            self._font(8, colour, bold=bold)
            pdf.set_xy(left, top)
            if place == 1:
                self._describe(text, beside, under, width)
            else:
                if place > 1:
                    self._font(_fitting(pdf, text, width - 2, 8), colour, bold=bold)
                pdf.cell(width, ROW, text, align="L" if place == 0 else "R")
            left += width
        pdf.set_draw_color(*LINE)
        pdf.set_line_width(0.1)
        pdf.line(MARGIN, top + ROW, MARGIN + pdf.epw, top + ROW)
        pdf.set_xy(MARGIN, top + ROW)

    def _describe(self, text: str, beside: str, under: str, width: float) -> None:
        """What it was, and, small, beside it when it was recorded and below it the uuid."""
        pdf = self._pdf
        if not under:
            pdf.cell(width, ROW, text)
            return
        left, top = pdf.x, pdf.y
        taken = pdf.get_string_width(beside) * SMALL / pdf.font_size_pt + 3 if beside else 0
        room = width - 2 - taken
        pdf.set_font_size(_fitting(pdf, text, room, 8))
        pdf.set_xy(left, top + 0.6)
        pdf.cell(room, 4.2, text)
        self._font(SMALL, GREY)
        if beside:
            pdf.set_xy(left + room, top + 0.8)
            pdf.cell(taken, 4.2, beside, align="R")
        pdf.set_xy(left, top + 4.6)
        pdf.cell(width, 3.2, under)

    def _sums(self) -> tuple[str, str]:
        """Out and in."""
        nothing = self._found.opening * 0
        return (
            money(-sum(self._found.withdrawals, start=nothing)),
            money(sum(self._found.deposits, start=nothing)),
        )

    def _font(self, size: float, colour: Sequence[int], *, bold: bool = False) -> None:
        self._pdf.set_font(FONT, "B" if bold else "", size)
        self._pdf.set_text_color(*colour)


def _fitting(pdf: FPDF, text: str, width: float, size: float) -> float:
    """The size of type at which a text fits: an amount is never cut."""
    while size > 3 and pdf.get_string_width(text) * size / pdf.font_size_pt > width:
        size -= 0.25
    return size


def _cut(pdf: FPDF, text: str, width: float) -> str:
    if pdf.get_string_width(text) <= width:
        return text
    while text and pdf.get_string_width(f"{text}…") > width:
        text = text[:-1]
    return f"{text}…"


def _printable(name: str) -> str:
    """A line: what breaks or turns it has no place in a heading."""
    return "".join(letter if letter.isprintable() else " " for letter in name)


def _day(moment: datetime) -> str:
    return f"{moment.astimezone(zone()):%Y-%m-%d}"


def _offset(moment: datetime) -> str:
    offset = f"{moment.astimezone(zone()):%z}"
    return f"UTC{offset[:3]}:{offset[3:]}, as at the beginning of the period"


def _whole_days(found: Statement) -> bool:
    midnight = timedelta(0)
    for moment in found.period:
        local = moment.astimezone(zone())
        passed = timedelta(
            hours=local.hour,
            minutes=local.minute,
            seconds=local.second,
            microseconds=local.microsecond,
        )
        if passed != midnight:
            return False
    return True
