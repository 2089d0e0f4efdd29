"""Timestamps: parsed to the microsecond like the standard library does, in the accepted forms only.

The OpenAPI document describes a timestamp as `date-time`. The patterns here describe all accepted forms.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Final

from saldo.ledger.instants import (
    INSTANT_MAX,
    INSTANT_MIN,
    TEXT_LENGTH_MAX,
    InstantError,
    format_instant,
    parse_instant,
)
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_query_instant
from tests.fuzz.harnesses import text_of

ZONE = timezone(timedelta(hours=5, minutes=30))
READING = ParserOptions(zone=ZONE, decimals=2, amount_max_minor=1, name_length_max=1)

_DATE: Final = (
    "(19[0-9]{2}|2[01][0-9]{2}|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"  # 1900 to 2200
)
_FRACTION: Final = "([.,][0-9]+)?"
_TIME: Final = (
    f"([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9]{_FRACTION})?|-[0-5][0-9]-[0-5][0-9]{_FRACTION})"
)
_HOUR: Final = "([01][0-9]|2[0-3])"
_ZONE: Final = rf"[ \t\n\r\f\v]?([Zz]|[+-]{_HOUR}(:?[0-5][0-9])?)?"

INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}{_ZONE})?$"

QUERY_INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}({_ZONE}| {_HOUR}:?[0-5][0-9]))?$"
"""Pattern of an instant in a query, where a plus sign may arrive as a space."""


def check(data: bytes) -> None:
    """Check that a text is a timestamp or has a message."""
    text = text_of(data)
    fits = len(text) <= TEXT_LENGTH_MAX and re.fullmatch(INSTANT[1:-1], text) is not None
    try:
        instant = parse_instant(text, ZONE)
    except InstantError as error:
        # The pattern checks neither the length of a month nor the effect of an offset at the limits.
        assert not fits or re.match(
            "is not a date and time of the cal|must be in the ye", str(error)
        )
    else:
        assert fits
        assert INSTANT_MIN <= instant <= INSTANT_MAX
        assert instant.utcoffset() == timedelta(0)
        assert parse_instant(format_instant(instant), None) == instant
        _check_against_the_standard_library(text, instant)
        assert parse_query_instant("date", text, READING) == instant
    fits = len(text) <= TEXT_LENGTH_MAX and re.fullmatch(QUERY_INSTANT[1:-1], text) is not None
    try:
        parse_query_instant("date", text, READING)
    except InvalidRequestError as refusal:
        message = refusal.faults[0].message
        assert not fits or re.match("is not a date and time of the cal|must be in the ye", message)
    else:
        assert fits


def _check_against_the_standard_library(text: str, instant: datetime) -> None:
    try:
        expected = datetime.fromisoformat(text)
    except ValueError:
        return  # the standard library knows fewer forms
    zone = expected.tzinfo or ZONE
    assert instant == expected.replace(tzinfo=zone).astimezone(UTC)
