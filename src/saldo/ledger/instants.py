"""Instants: parsing the text that clients send, and formatting.

Every instant has a timezone, UTC, and microseconds. Further digits are truncated and never rounded, so that a timestamp
never moves into the future.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from typing import Final

INSTANT_MIN: Final = datetime(1900, 1, 1, tzinfo=UTC)
INSTANT_MAX: Final = datetime(2200, 12, 31, 23, 59, 59, 999999, tzinfo=UTC)
"""Minimum and maximum of the instants in a ledger. Years at the limits of the type are excluded, because drivers store
them as infinity."""

FUTURE_TOLERANCE_MAX: Final = timedelta(days=1)
"""Maximum value of the setting for timestamps ahead of the clock. Queries of lists rely on this maximum."""

MICROSECOND: Final = timedelta(microseconds=1)

TEXT_LENGTH_MAX: Final = 64

_INSTANT: Final = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)"  # a date, alone or followed by
    r"(?:[Tt ](\d\d)([:-])(\d\d)(?:\5(\d\d)(?:[.,](\d+))?)?"  # a time; "-" may separate its parts
    r"\s?([Zz]|[+-]\d\d(?::?[0-5]\d)?)?)?",
    re.ASCII,
)


class InstantError(ValueError):
    """Raised when a text is not an instant. The message says what is expected."""


def parse_instant(text: str, zone: tzinfo | None) -> datetime:
    """Parse ISO 8601 with any number of fractional digits, a date alone, or ``2023-10-30T12-30-45``.

    Args:
        text: the text from the client.
        zone: the time zone of a text that contains no offset; None means the machine's zone (TZ).

    Returns:
        The instant in UTC, truncated to microseconds.

    Raises:
        InstantError: the text is not an instant. The message says what is expected.
    """
    match = _INSTANT.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    # `T03-02` alone could be two minutes past three, or three o'clock two hours west: ISO 8601 says the latter.
    if match is None or (match[5] == "-" and match[7] is None):
        raise InstantError(
            "must be a date and time such as 2023-10-30T12:30:45Z, 2023-10-30T12:30:45.123+03:00 "
            "or 2023-10-30"
        )
    year, month, day, hour, _, minute, second, fraction, offset = match.groups()
    try:
        local = datetime(
            int(year),
            int(month),
            int(day),
            int(hour or 0),
            int(minute or 0),
            int(second or 0),
            int((fraction or "0")[:6].ljust(6, "0")),
        )
    except ValueError as error:
        raise InstantError(f"is not a date and time of the calendar: {error}") from None
    # This comes before any zone arithmetic, which overflows at the limits of the calendar.
    if not INSTANT_MIN.year <= local.year <= INSTANT_MAX.year:
        raise InstantError(_YEARS)
    instant = _apply_zone(local, offset, zone)
    if not INSTANT_MIN <= instant <= INSTANT_MAX:
        raise InstantError(_YEARS)
    return instant


def format_instant(instant: datetime) -> str:
    """Format an instant as RFC 3339 in UTC, with the offset: ``2023-10-30T12:30:45.123000+00:00``."""
    return (instant if instant.tzinfo is UTC else instant.astimezone(UTC)).isoformat()


_YEARS: Final = f"must be in the years {INSTANT_MIN.year} to {INSTANT_MAX.year}"


def _apply_zone(local: datetime, offset: str | None, zone: tzinfo | None) -> datetime:
    if offset is None:
        # astimezone() assumes that a naive value is in the machine's zone.
        return (local if zone is None else local.replace(tzinfo=zone)).astimezone(UTC)
    if offset in "Zz":
        return local.replace(tzinfo=UTC)
    digits = offset[1:].replace(":", "").ljust(4, "0")
    hours, minutes = int(digits[:2]), int(digits[2:])
    if hours > 23:
        raise InstantError("has an offset of more than 23 hours")
    delta = timedelta(hours=hours, minutes=minutes)
    return local.replace(tzinfo=timezone(-delta if offset[0] == "-" else delta)).astimezone(UTC)
