"""Requests of the client: amounts, times, uuids, and what is rejected before it is sent."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client.batch import BulkRequest, Item
from saldo.client.payloads import (
    Deposit,
    Withdrawal,
    format_amount,
    format_time,
    new_uuid,
)
from saldo.client.retry import Retries
from saldo.ledger.instants import parse_instant
from saldo.ledger.money import AMOUNT_MAX, format_money, parse_amount


def test_float_is_rejected_with_a_reason() -> None:
    with pytest.raises(TypeError, match=r"must not be a float: 0\.1 can't be represented exactly"):
        Deposit(1, 0.1)  # type: ignore[arg-type]


@pytest.mark.parametrize("amount", [True, None, b"1", 1j])
def test_other_types_are_refused(amount: Any) -> None:
    with pytest.raises(TypeError, match="must be a Decimal, a str or an int"):
        Deposit(1, amount)


@pytest.mark.parametrize("amount", ["NaN", "Infinity", "-Infinity"])
def test_non_number_is_rejected(amount: str) -> None:
    with pytest.raises(ValueError, match="must be a number"):
        Deposit(1, Decimal(amount))


def test_no_amount_is_written_with_an_exponent() -> None:
    assert format_amount(Decimal("1E+3")) == "1000"
    assert format_amount(Decimal("1E-2")) == "0.01"
    assert format_amount(10**15) == "1" + "0" * 15
    assert format_amount("100.0") == "100.0"


@settings(deadline=None)
@given(st.integers(1, AMOUNT_MAX), st.integers(0, 6))
def test_amount_is_encoded_without_loss(minor: int, decimals: int) -> None:
    amount = Decimal(format_money(minor, decimals))
    assert parse_amount(format_amount(amount), decimals) == minor
    assert Decimal(format_amount(amount)) == amount


@settings(deadline=None)
@given(st.datetimes(datetime(1901, 1, 1), datetime(2199, 1, 1), timezones=st.timezones()))
def test_time_is_encoded_without_loss(instant: datetime) -> None:
    # Across time zones, Python calls a repeated hour unequal to itself.
    assert parse_instant(format_time(instant), UTC) == instant.astimezone(UTC)


def test_a_time_without_a_zone_is_refused() -> None:
    with pytest.raises(ValueError, match="has no time zone"):
        Deposit(1, 1, timestamp=datetime(2023, 10, 30))
    assert Deposit(1, 1, timestamp="2023-10-30").timestamp == "2023-10-30"


def test_uuids_are_of_version_7_and_in_the_order_of_time() -> None:
    made = [new_uuid() for _ in range(1000)]
    assert len(set(made)) == len(made)
    assert {(uuid.version, uuid.variant) for uuid in made} == {
        (7, "specified in RFC 4122"),
    }
    assert [uuid.int >> 80 for uuid in made] == sorted(uuid.int >> 80 for uuid in made)


def test_a_uuid_may_be_given() -> None:
    text = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
    assert str(Withdrawal(1, 1, uuid=text).uuid) == text
    with pytest.raises(ValueError, match="badly formed"):
        Withdrawal(1, 1, uuid="1")


def test_bulk_line_equals_the_body_of_a_single_request() -> None:
    requests = [Deposit(1, "1.50"), Withdrawal(2, 1, timestamp="2023-10-30")]
    lines = (
        BulkRequest([Item(each, None) for each in requests], 0.0, Retries())
        .start_attempt()
        .splitlines()
    )
    assert lines == [request.encode_body() for request in requests]
    assert msgspec.json.decode(lines[1]) == {
        "uuid": str(requests[1].uuid),
        "type": "WITHDRAW",
        "amount": "1",
        "user_id": 2,
        "timestamp": "2023-10-30",
    }
