"""A user's account in a period: what it began with, each entry with the balance after it, what it ended with."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from saldo.cli.connecting import Service
from saldo.cli.exits import CommandError
from saldo.cli.exporting import Line, Wanted, of_user
from saldo.client.models import User
from saldo.ledger.time import parse_instant

ENTRIES_MAX: Final = 200_000
"""Of a statement, which is sorted in memory: a hundred megabytes. `saldo export` has no end."""

READINGS_MAX: Final = 5
"""A statement is read in three questions. What is recorded between them shows, and they are asked again."""


class Period(NamedTuple):
    """From a moment on, up to another, which is not in it."""

    begin: datetime
    end: datetime


class Entry(NamedTuple):
    """A transaction of the period.

    Attributes:
        amount: above zero: came in; below: went out.
        balance: after it and all that took effect before; of a refused one unchanged.
        late: recorded after the period had ended, or after something that took effect later.
    """

    timestamp: datetime
    recorded_at: datetime
    amount: Decimal
    balance: Decimal
    number: int
    uuid: str
    outcome: str
    late: bool

    @property
    def posted(self) -> bool:
        """Whether it counts."""
        return self.outcome == "posted"


class Statement(NamedTuple):
    """The whole. known_at: as it was known then; None: as it is known now."""

    user: User
    period: Period
    known_at: datetime | None
    opening: Decimal
    entries: list[Entry]
    closing: Decimal

    @property
    def deposits(self) -> list[Decimal]:
        """The amounts that came in."""
        return [each.amount for each in self.entries if each.posted and each.amount > 0]

    @property
    def withdrawals(self) -> list[Decimal]:
        """The amounts that went out, below zero."""
        return [each.amount for each in self.entries if each.posted and each.amount < 0]


def read_statement(
    service: Service, user_id: int, period: Period, known_at: datetime | None, *, refused: bool
) -> Statement:
    """The statement, whose entries lead from the balance before the period to the balance at its end.

    Args:
        refused: with transactions that were refused.

    Raises:
        CommandError: there are too many, or the account does not rest. SaldoError.
    """
    client = service.client
    user = client.user(user_id)
    for _ in range(READINGS_MAX):
        opening = client.balance(user_id, before=period.begin, known_at=known_at).balance
        lines = _lines(service, user_id, period, known_at)
        closing = client.balance(user_id, before=period.end, known_at=known_at).balance
        entries = entries_of(lines, opening, period.end)
        if opening + sum((each.amount for each in entries if each.posted), Decimal(0)) == closing:
            kept = entries if refused else [each for each in entries if each.posted]
            return Statement(user, period, known_at, opening, kept, closing)
    raise CommandError(
        "transactions of the period are being recorded: try again, or give --known-at and a moment of the past"
    )


def entries_of(lines: Sequence[Line], opening: Decimal, end: datetime) -> list[Entry]:
    """The entries in the order in which they took effect; of one moment, in which they were recorded."""
    found = sorted(
        (_Read(parse_instant(line.timestamp, None), line.number, line) for line in lines),
        key=lambda each: (each.timestamp, each.number),
    )
    late: set[int] = set()
    lowest = None
    for each in reversed(found):
        # Something that took effect later was recorded earlier.
        if lowest is not None and each.number > lowest:
            late.add(each.number)
        if each.line.outcome == "posted":
            lowest = each.number if lowest is None else min(lowest, each.number)
    entries = []
    balance = opening
    for timestamp, number, line in found:
        amount = Decimal(line.amount) if line.type == "DEPOSIT" else -Decimal(line.amount)
        if line.outcome == "posted":
            balance += amount
        recorded_at = parse_instant(line.recorded_at, None)
        entries.append(
            Entry(
                timestamp,
                recorded_at,
                amount,
                balance,
                number,
                line.uuid,
                line.outcome,
                number in late or recorded_at >= end,
            )
        )
    return entries


class _Read(NamedTuple):
    timestamp: datetime
    number: int
    line: Line


def _lines(service: Service, user_id: int, period: Period, known_at: datetime | None) -> list[Line]:
    wanted = Wanted(
        posted_only=False,
        since=period.begin,
        until=period.end,
        recorded_since=None,
        recorded_until=None,
    )
    lines: list[Line] = []
    for part in of_user(service.connection, user_id, wanted, known_at):
        lines += part.lines
        if len(lines) > ENTRIES_MAX:
            raise CommandError(
                f"there are more than {ENTRIES_MAX:,} transactions in the period: give a shorter one"
            )
    return lines
