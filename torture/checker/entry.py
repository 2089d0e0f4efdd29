"""Parser of a transaction as the service writes it: in an answer, in a list, in an event.

Money is `Decimal`, never a binary float. Times have an offset.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from typing import Any, Final, NamedTuple

from torture.checker.fault import MalformedError

POSTED: Final = "posted"
INSUFFICIENT_FUNDS: Final = "insufficient_funds"
BALANCE_ABOVE_MAXIMUM: Final = "balance_above_maximum"
OUTCOMES: Final = frozenset({POSTED, INSUFFICIENT_FUNDS, BALANCE_ABOVE_MAXIMUM})
"""The outcomes that are recorded in the log."""

ZERO: Final = Decimal(0)


class Entry(NamedTuple):
    """A recorded transaction.

    Attributes:
        uuid: the uuid in lower case.
        number: the position among the user's entries: 1, 2, 3 …
        type: DEPOSIT or WITHDRAW.
        amount: the requested amount, which is above zero.
        outcome: one of `OUTCOMES`.
        balance: the balance right after the entry.
    """

    user_id: int
    number: int
    uuid: str
    type: str
    amount: Decimal
    timestamp: datetime
    outcome: str
    balance: Decimal
    recorded_at: datetime

    @property
    def change(self) -> Decimal:
        """The amount that the entry added to the balance: negative for a withdrawal, zero for a refused transaction."""
        if self.outcome != POSTED:
            return ZERO
        return self.amount if self.type == "DEPOSIT" else -self.amount

    def __str__(self) -> str:
        return f"number {self.number}, {self.uuid}, {self.type} {self.amount}, {self.outcome}"


@dataclass(frozen=True, slots=True)
class Account:
    """The final read of one user.

    Attributes:
        entries: the entries in the order in which the service listed them, which should be the order of their numbers.
    """

    user_id: int
    balance: Decimal
    entries: tuple[Entry, ...]


def read_entry(fields: Mapping[str, Any]) -> Entry:
    """Parse a transaction. Unknown fields are ignored.

    Raises:
        MalformedError: a field is missing or can't be read.
    """
    entry = Entry(
        read_integer(fields, "user_id"),
        read_integer(fields, "number"),
        read_text(fields, "uuid").lower(),
        read_text(fields, "type"),
        read_money(fields, "amount"),
        read_moment(fields, "timestamp"),
        read_text(fields, "outcome"),
        read_money(fields, "balance"),
        read_moment(fields, "recorded_at"),
    )
    if entry.type not in {"DEPOSIT", "WITHDRAW"}:
        raise MalformedError(f"type {entry.type!r} is neither DEPOSIT nor WITHDRAW")
    if entry.outcome not in OUTCOMES:
        raise MalformedError(f"outcome {entry.outcome!r} is none that is recorded")
    if entry.amount <= 0:
        raise MalformedError(f"amount {entry.amount} is not above zero")
    return entry


def read_text(fields: Mapping[str, Any], name: str) -> str:
    """Return a field that is a string.

    Raises:
        MalformedError: the field is missing or is not a string.
    """
    value = fields.get(name)
    if not isinstance(value, str):
        raise MalformedError(f"{name} is {value!r}, which is no text")
    return value


def read_integer(fields: Mapping[str, Any], name: str) -> int:
    """Return a field that is an integer.

    Raises:
        MalformedError: the field is missing or is not an integer.
    """
    value = fields.get(name)
    if type(value) is not int:
        raise MalformedError(f"{name} is {value!r}, which is no integer")
    return value


def read_money(fields: Mapping[str, Any], name: str) -> Decimal:
    """Return a field that is a decimal string.

    Raises:
        MalformedError: the field is missing or is not a finite decimal.
    """
    return to_money(read_text(fields, name))


def read_moment(fields: Mapping[str, Any], name: str) -> datetime:
    """Return a field that is a time with an offset.

    Raises:
        MalformedError: the field is missing, is not a time, or has no offset.
    """
    text = read_text(fields, name)
    moment = to_moment(text)
    if moment is None or moment.tzinfo is None:
        raise MalformedError(f"{name} is {text!r}, which is no moment with an offset")
    return moment


def to_money(text: str) -> Decimal:
    """Parse a finite decimal.

    Raises:
        MalformedError: the text is not a finite decimal.
    """
    try:
        money = Decimal(text)
    except InvalidOperation:
        raise MalformedError(f"{text!r} is no decimal") from None
    if not money.is_finite():
        raise MalformedError(f"{text!r} is no amount of money")
    return money


def to_moment(text: str) -> datetime | None:
    """Parse a time in ISO 8601, with or without an offset, or return None if the text is not one."""
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return None
