"""A user's account statement for a period: opening balance, entries with their balances, and closing balance."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Final, NamedTuple

from saldo.cli.connection.service import ConnectedService
from saldo.cli.exit_codes import CommandError
from saldo.cli.exporting.sources import ExportedTransaction, ExportFilter, read_user_parts
from saldo.client.models import User
from saldo.ledger.instants import parse_instant

ENTRIES_MAX: Final = 200_000
"""Maximum number of entries. They are sorted in memory, which takes a hundred megabytes. `saldo export` has no
limit."""

READ_ATTEMPTS_MAX: Final = 5
"""Maximum number of attempts to read a statement. An attempt consists of three requests. If a transaction is recorded
between them, their results do not match and the attempt is repeated."""


class StatementPeriod(NamedTuple):
    """A period from a time to another one, which is excluded."""

    begin: datetime
    end: datetime


class StatementEntry(NamedTuple):
    """A transaction of the period.

    Attributes:
        amount: The amount; a withdrawal is negative.
        balance: The balance after the entry, which includes all entries that took effect before it. A refused entry
            does not change it.
        late: True if the entry was recorded after the end of the period, or after an entry that took effect later.
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
    def is_posted(self) -> bool:
        """True if the entry has changed the balance, and False if it was refused."""
        return self.outcome == "posted"


class AccountStatement(NamedTuple):
    """An account statement.

    Attributes:
        known_at: The time until which a transaction must have been recorded to be included; None means that all are.
    """

    user: User
    period: StatementPeriod
    known_at: datetime | None
    opening: Decimal
    entries: list[StatementEntry]
    closing: Decimal

    @property
    def deposits(self) -> list[Decimal]:
        """The amounts of the deposits."""
        return [each.amount for each in self.entries if each.is_posted and each.amount > 0]

    @property
    def withdrawals(self) -> list[Decimal]:
        """The amounts of the withdrawals, which are negative."""
        return [each.amount for each in self.entries if each.is_posted and each.amount < 0]


def read_statement(
    service: ConnectedService,
    user_id: int,
    period: StatementPeriod,
    known_at: datetime | None,
    *,
    include_refused: bool,
) -> AccountStatement:
    """Read a statement whose entries lead from the opening balance to the closing balance.

    Args:
        include_refused: Whether to include refused transactions.

    Raises:
        CommandError: The period has too many transactions. Or transactions were recorded during each attempt to read
            it.
        SaldoError: The service returns an error.
    """
    client = service.client
    user = client.user(user_id)
    for _ in range(READ_ATTEMPTS_MAX):
        opening = client.balance(user_id, before=period.begin, known_at=known_at).balance
        lines = _read_lines(service, user_id, period, known_at)
        closing = client.balance(user_id, before=period.end, known_at=known_at).balance
        entries = build_entries(lines, opening, period.end)
        if (
            opening + sum((each.amount for each in entries if each.is_posted), Decimal(0))
            == closing
        ):
            shown_entries = (
                entries if include_refused else [each for each in entries if each.is_posted]
            )
            return AccountStatement(user, period, known_at, opening, shown_entries, closing)
    raise CommandError(
        "new transactions were recorded in the period while it was read: try again, or use --known-at with a past time"
    )


def build_entries(
    lines: Sequence[ExportedTransaction], opening: Decimal, end: datetime
) -> list[StatementEntry]:
    """Return the entries in the order in which they took effect. Entries of the same time are in the order of
    recording."""
    found = sorted(
        (_ParsedLine(parse_instant(line.timestamp, None), line.number, line) for line in lines),
        key=lambda each: (each.timestamp, each.number),
    )
    late: set[int] = set()
    lowest = None
    for each in reversed(found):
        # The entry is late, because an entry with a smaller number took effect after it.
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
            StatementEntry(
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


class _ParsedLine(NamedTuple):
    timestamp: datetime
    number: int
    line: ExportedTransaction


def _read_lines(
    service: ConnectedService, user_id: int, period: StatementPeriod, known_at: datetime | None
) -> list[ExportedTransaction]:
    export_filter = ExportFilter(
        posted_only=False,
        since=period.begin,
        until=period.end,
        recorded_since=None,
        recorded_until=None,
    )
    lines: list[ExportedTransaction] = []
    for part in read_user_parts(service.connection, user_id, export_filter, known_at):
        lines += part.lines
        if len(lines) > ENTRIES_MAX:
            raise CommandError(
                f"the period has more than {ENTRIES_MAX:,} transactions: choose a shorter period, or use saldo export"
            )
    return lines
