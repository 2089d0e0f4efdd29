"""Amounts: exactly the result of decimal arithmetic, or a message."""

from __future__ import annotations

import re
from decimal import Decimal, localcontext

from saldo.http.openapi.patterns import AMOUNT
from saldo.ledger.money import (
    AMOUNT_MAX,
    TEXT_LENGTH_MAX,
    MoneyError,
    format_money,
    parse_amount,
)
from tests.fuzz.harnesses import text_of


def check(data: bytes) -> None:
    """Check a text as an amount. The first byte gives the number of the currency's decimals."""
    decimals, text = (data[0] % 9 if data else 2), text_of(data[1:])
    try:
        amount = parse_amount(text, decimals)
    except MoneyError:
        assert not _is_amount(text, decimals)
        return
    assert _is_amount(text, decimals)
    assert re.fullmatch(AMOUNT[1:-1], text)
    assert amount == _minor(text, decimals)
    written = format_money(amount, decimals)
    assert _minor(written, decimals) == amount
    assert parse_amount(written, decimals) == amount
    assert format_money(-amount, decimals) == f"-{written}"


def _is_amount(text: str, decimals: int) -> bool:
    if len(text) > TEXT_LENGTH_MAX or not re.fullmatch(r"[0-9]+(\.[0-9]+)?", text, re.ASCII):
        return False
    return len(text.partition(".")[2]) <= decimals and 0 < _minor(text, decimals) <= AMOUNT_MAX


def _minor(text: str, decimals: int) -> Decimal:
    with localcontext(prec=100):
        return Decimal(text).scaleb(decimals)
