"""Formatting of amounts, times and counts in the language and the time zone that a person has chosen."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from typing import Final

from saldo.console.preferences import Language
from saldo.ledger.money import format_money

NARROW_SPACE: Final = "\u202f"
_MINUS: Final = "\u2212"
_SPACE: Final = "[ \u00a0\u2009\u202f]"
_WHOLE: Final = f"(?P<whole>[0-9]+|[0-9]{{1,3}}(?:{_SPACE}[0-9]{{3}})+)"
_WITH_POINT: Final = re.compile(rf"{_WHOLE}(?:\.(?P<fraction>[0-9]+))?", re.ASCII)
_WITH_COMMA: Final = re.compile(rf"{_WHOLE}(?:,(?P<fraction>[0-9]+))?", re.ASCII)
_GROUPS_WITH_COMMAS: Final = re.compile(
    r"(?P<whole>[0-9]{1,3}(?:,[0-9]{3})+)(?:\.(?P<fraction>[0-9]+))?", re.ASCII
)


@dataclass(frozen=True, slots=True)
class Formatter:
    """The formatting functions of one page, for one language, time zone and currency."""

    language: Language
    zone: tzinfo
    decimals: int
    durations: tuple[str, str, str, str, str]

    def format_money(self, minor: int) -> str:
        """Format an amount of minor units as `1,234.50`, or as `1 234,50` in Russian."""
        whole, point, fraction = format_money(abs(minor), self.decimals).partition(".")
        sign = _MINUS if minor < 0 else ""
        if self.language == "ru":
            return sign + self.format_count(int(whole)) + point.replace(".", ",") + fraction
        return sign + self.format_count(int(whole)) + point + fraction

    def format_signed_money(self, minor: int) -> str:
        """Format an amount of minor units with its sign, which is a plus for positive amounts."""
        return f"+{self.format_money(minor)}" if minor > 0 else self.format_money(minor)

    def format_api_amount(self, minor: int) -> str:
        """Format an amount of minor units as the API does. This form is also accepted as input."""
        return format_money(minor, self.decimals)

    def format_count(self, number: int) -> str:
        """Format an integer with separators between groups of three digits, as `12,345`."""
        grouped = f"{number:,}"
        return grouped.replace(",", NARROW_SPACE) if self.language == "ru" else grouped

    def format_number(self, value: float, digits: int = 1) -> str:
        """Format a decimal number that is not an amount of money."""
        text = f"{value:,.{digits}f}"
        if self.language == "ru":
            text = text.replace(",", NARROW_SPACE).replace(".", ",")
        return text

    def format_duration(self, seconds: float) -> str:
        """Format a duration in the largest suitable unit: `3 ms`, `12 s`, `4 h`."""
        milliseconds, *units = self.durations
        if seconds < 1:
            return f"{self.format_number(seconds * 1000, 0)}\u00a0{milliseconds}"
        for unit, length in zip(units, (60, 60, 24), strict=False):
            if seconds < length:
                return f"{self.format_number(seconds, 0)}\u00a0{unit}"
            seconds /= length
        return f"{self.format_number(seconds, 0)}\u00a0{units[-1]}"

    def format_time(self, instant: datetime) -> str:
        """Format a time to the second."""
        local = instant.astimezone(self.zone)
        if self.language == "ru":
            return local.strftime("%d.%m.%Y %H:%M:%S")
        return local.strftime("%Y-%m-%d %H:%M:%S")

    def format_exact_time(self, instant: datetime) -> str:
        """Format a time to the microsecond, with its UTC offset."""
        return instant.astimezone(self.zone).isoformat(" ")

    def format_input_value(self, instant: datetime) -> str:
        """Format a time as the value of an input field of type `datetime-local`."""
        return instant.astimezone(self.zone).strftime("%Y-%m-%dT%H:%M:%S")

    def normalize_amount(self, text: str) -> str:
        """Convert an amount that a person has typed to the format of the API.

        Spaces between groups of three digits are accepted. In Russian, a decimal comma is accepted, too. In English,
        commas between groups are accepted only if they cannot be decimal commas: either a decimal point follows, or the
        currency has no decimals. Ambiguous input is returned unchanged, and the parser of the API rejects it.
        """
        text = text.strip()
        match = _WITH_POINT.fullmatch(text)
        if match is None and self.language == "ru":
            match = _WITH_COMMA.fullmatch(text)
        elif match is None:
            match = _GROUPS_WITH_COMMAS.fullmatch(text)
            if match is not None and match["fraction"] is None and self.decimals:
                match = None
        if match is None:
            return text
        whole = "".join(digit for digit in match["whole"] if digit.isdigit())
        return whole if match["fraction"] is None else f"{whole}.{match['fraction']}"

    def describe_zone(self) -> str:
        """Return the name of the time zone and its UTC offset, to be shown next to times."""
        name = getattr(self.zone, "key", None)
        offset = datetime.now(self.zone).utcoffset() or timedelta(0)
        minutes = int(offset.total_seconds()) // 60
        sign = "-" if minutes < 0 else "+"
        hours, rest = divmod(abs(minutes), 60)
        utc = f"UTC{sign}{hours:02}:{rest:02}" if minutes else "UTC"
        return utc if name is None or name == utc else f"{name}, {utc}"
