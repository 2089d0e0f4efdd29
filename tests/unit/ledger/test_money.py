"""Amounts: parsing, rejection and formatting."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.ledger.money import AMOUNT_MAX, MoneyError, format_money, parse_amount


@pytest.mark.parametrize(
    ("text", "decimals", "minor"),
    [
        ("100", 2, 10_000),
        ("100.0", 2, 10_000),
        ("100.25", 2, 10_025),
        ("0.01", 2, 1),
        ("007", 2, 700),
        ("5", 0, 5),
        ("1.00000001", 8, 100_000_001),
        ("10000000000000.00", 2, AMOUNT_MAX),
    ],
)
def test_valid_amounts(text: str, decimals: int, minor: int) -> None:
    assert parse_amount(text, decimals) == minor


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", "greater than zero"),
        ("0.00", "greater than zero"),
        ("-5", "greater than zero"),
        ("1.005", "decimals"),
        ("1.000", "decimals"),
        ("10000000000000.01", "at most"),
        ("1e3", "decimal number"),
        ("NaN", "decimal number"),
        ("Infinity", "decimal number"),
        ("", "decimal number"),
        (" 1", "decimal number"),
        ("1.", "decimal number"),
        (".5", "decimal number"),
        ("+1", "decimal number"),
        ("1,5", "decimal number"),
        ("1_000", "decimal number"),
        ("١٢", "decimal number"),
        ("9" * 41, "40 characters"),
    ],
)
def test_invalid_amounts(text: str, expected: str) -> None:
    with pytest.raises(MoneyError, match=expected):
        parse_amount(text, 2)


@given(minor=st.integers(1, AMOUNT_MAX), decimals=st.integers(0, 8))
def test_formatted_amount_is_parsed_unchanged(minor: int, decimals: int) -> None:
    assert parse_amount(format_money(minor, decimals), decimals) == minor


def test_zero_and_negative_are_written_with_all_decimals() -> None:
    assert [format_money(minor, 2) for minor in (0, 5, -5, -12345)] == [
        "0.00",
        "0.05",
        "-0.05",
        "-123.45",
    ]
