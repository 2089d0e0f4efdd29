"""Timestamps: parsed to the microsecond like the standard library does, and matching the document's pattern."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone

from saldo.http.openapi.patterns import INSTANT, QUERY_INSTANT
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
