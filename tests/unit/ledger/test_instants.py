"""Timestamps: parsing and rejection."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.ledger.instants import (
    INSTANT_MAX,
    INSTANT_MIN,
    InstantError,
    format_instant,
    parse_instant,
)


@pytest.mark.parametrize(
    ("text", "instant"),
    [
        ("2023-10-30T00:00:00.00000000", datetime(2023, 10, 30, tzinfo=UTC)),
        ("2023-10-30T12-30-45", datetime(2023, 10, 30, 12, 30, 45, tzinfo=UTC)),
        ("2023-10-30", datetime(2023, 10, 30, tzinfo=UTC)),
        ("2023-10-30T12:30", datetime(2023, 10, 30, 12, 30, tzinfo=UTC)),
        ("2023-10-30 12:30:45Z", datetime(2023, 10, 30, 12, 30, 45, tzinfo=UTC)),
        ("2023-10-30T12:30:45+03:00", datetime(2023, 10, 30, 9, 30, 45, tzinfo=UTC)),
        ("2023-10-30T12:30:45-0330", datetime(2023, 10, 30, 16, 0, 45, tzinfo=UTC)),
        ("2023-10-30T12:30:45.9999999", datetime(2023, 10, 30, 12, 30, 45, 999999, tzinfo=UTC)),
        ("1900-01-01T00:00:00Z", INSTANT_MIN),
        ("2200-12-31T23:59:59.999999Z", INSTANT_MAX),
    ],
)
def test_valid_timestamps(text: str, instant: datetime) -> None:
    assert parse_instant(text, UTC) == instant


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2200-12-31T03-02",
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59-23:59",
        "1900-01-01T00:00:00+01:00",
        "2201-01-01",
        "2023-02-29",
        "2023-13-01",
        "2023-10-30T24:00:00",
        "2023-10-30T12:60:00",
        "2023-10-30T12:30:45+24:00",
        "2023-10-30T12:30:45+03:60",
        "2023-10-30T",
        "20231030T000000",
        "2023-10-30T12:30-45",
        "$(date +%FT%H-%M-%S)",
        "2023-10-30T12:30:45." + "1" * 99,
        "２０２３-10-30",
    ],
)
def test_invalid_timestamps(text: str) -> None:
    with pytest.raises(InstantError):
        parse_instant(text, UTC)


def test_a_time_without_zone_is_read_in_the_configured_one() -> None:
    zone = ZoneInfo("Europe/Moscow")
    assert parse_instant("2023-10-30T03:00:00", zone) == datetime(2023, 10, 30, tzinfo=UTC)


@given(
    st.datetimes(
        datetime(1901, 1, 1),
        datetime(2199, 1, 1),
        timezones=st.integers(-23 * 60, 23 * 60).map(lambda m: timezone(timedelta(minutes=m))),
    )
)
def test_formatted_timestamp_is_parsed_unchanged(instant: datetime) -> None:
    assert parse_instant(format_instant(instant), None) == instant
    assert parse_instant(instant.isoformat(), None) == instant
