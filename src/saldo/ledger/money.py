"""Money: integer minor units internally, decimal strings externally, never a float."""

from __future__ import annotations

import re
from typing import Final

AMOUNT_MAX: Final = 10**15
"""Maximum amount of one transaction, in minor units. The schema has a CHECK for it."""

BALANCE_MAX: Final = 10**17
"""Maximum balance, in minor units. The sum of a balance and an amount stays far within a bigint."""

TEXT_LENGTH_MAX: Final = 40
"""Maximum length of a text that is parsed as an amount. Every amount fits. Longer texts are rejected before they are
parsed, so that they cost no processor time."""

_AMOUNT: Final = re.compile(r"([0-9]+)(?:\.([0-9]+))?", re.ASCII)


class MoneyError(ValueError):
    """Raised when a text is not an amount. The message says what is expected."""


class AmountTooLargeError(MoneyError):
    """Raised when a text is an amount above the maximum of one transaction."""


def parse_amount(text: str, decimals: int, amount_max: int = AMOUNT_MAX) -> int:
    """Parse a positive amount such as ``"100"``, ``"100.0"`` or ``"100.25"``.

    Args:
        text: the digits as the client wrote them, in a JSON string or number.
        decimals: decimals of the currency.
        amount_max: maximum amount, in minor units.

    Returns:
        The amount in minor units.

    Raises:
        AmountTooLargeError: the amount is above the maximum.
        MoneyError: the text is not a positive amount. The message says what is expected.
    """
    match = _AMOUNT.fullmatch(text) if len(text) <= TEXT_LENGTH_MAX else None
    if match is None:
        raise MoneyError(_describe_expected(text, decimals))
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > decimals:
        raise MoneyError(f"has more than the currency's {decimals} decimals")
    amount = int(whole + fraction.ljust(decimals, "0"))
    if amount == 0:
        raise MoneyError("must be greater than zero")
    if amount > amount_max:
        raise AmountTooLargeError(f"must be at most {format_money(amount_max, decimals)}")
    return amount


def format_money(minor: int, decimals: int) -> str:
    """Format minor units with the currency's decimals: ``10000`` with 2 → ``"100.00"``."""
    if decimals == 0:
        return str(minor)
    sign = "-" if minor < 0 else ""
    digits = str(abs(minor)).rjust(decimals + 1, "0")
    return f"{sign}{digits[:-decimals]}.{digits[-decimals:]}"


def _describe_expected(text: str, decimals: int) -> str:
    example = format_money(10_000 if decimals == 2 else 10**decimals * 100, decimals)
    if text[:1] == "-":
        return "must be greater than zero: the type says the direction"
    if len(text) > TEXT_LENGTH_MAX:
        return (
            f'must be a decimal number such as "{example}", of {TEXT_LENGTH_MAX} characters at most'
        )
    return f'must be a decimal number such as "{example}", digits and at most one point'
