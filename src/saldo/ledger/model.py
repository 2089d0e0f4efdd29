"""The nouns of the ledger: transaction request, entry, outcome, decision, limits.

Numbers of `Kind` and `Outcome` are stable: they are stored in the log and never given again.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from saldo.ledger.money import BALANCE_MAX

SHARDS: Final = 64
"""Number of shards, constant for ever, like hash slots."""

USER_ID_MAX: Final = 2**63 - 1
"""Greatest user id that a bigint holds."""

SEQ_MAX: Final = 2**63 - 1
"""Greatest position in a shard's log that a bigint holds."""


def shard_of(user_id: int) -> int:
    """The shard whose log holds the user's entries."""
    return user_id % SHARDS


class Kind(IntEnum):
    """What an entry is."""

    OPENING = 0
    DEPOSIT = 1
    WITHDRAWAL = 2


class Outcome(IntEnum):
    """What became of a request. Refusals are values. Below 10: recorded in the log, and final."""

    POSTED = 0
    INSUFFICIENT_FUNDS = 1
    BALANCE_ABOVE_MAXIMUM = 2

    UUID_CONFLICT = 10
    USER_NOT_FOUND = 11
    TIMESTAMP_IN_FUTURE = 12
    TIMESTAMP_TOO_LATE = 13
    LATE_CHECK_TOO_LONG = 14

    @property
    def recorded(self) -> bool:
        """Whether such an outcome stands in the log, under the request's uuid."""
        return self < Outcome.UUID_CONFLICT


class TransactionRequest(NamedTuple):
    """A deposit or withdrawal that a client asks for.

    Attributes:
        amount: signed minor units: above zero a deposit, below zero a withdrawal, never zero.
        timestamp: when it takes effect; None leaves that to the ledger.
    """

    uuid: UUID
    user_id: int
    amount: int
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of the log. Every field is written once.

    Attributes:
        number: 1, 2, 3 … per user, refusals counted; the opening entry is 0.
        amount: signed minor units, as requested.
        balance: minor units, the user's right after this entry was recorded.
        timestamp: when it took effect, says the client; None only for the opening entry (-infinity).
        horizon: the greatest timestamp posted for this user so far, this entry included.
        recorded_at: when the ledger recorded it.
    """

    shard: int
    seq: int
    user_id: int
    number: int
    uuid: UUID
    kind: Kind
    outcome: Outcome
    amount: int
    balance: int
    timestamp: datetime | None
    horizon: datetime | None
    recorded_at: datetime


class Decision(NamedTuple):
    """What the ledger decided about one request.

    `user_id` to `recorded_at` are those of the entry that stands under the uuid: the request's own
    for a recorded or replayed outcome, the other one's for a conflict; None where nothing stands.
    """

    outcome: Outcome
    replayed: bool = False
    user_id: int | None = None
    number: int | None = None
    amount: int | None = None
    balance: int | None = None
    timestamp: datetime | None = None
    recorded_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Limits:
    """The rules a ledger's operator may set."""

    balance_max: int = BALANCE_MAX
    future_tolerance: timedelta = timedelta(minutes=5)
    max_lateness: timedelta | None = None
    late_check_entries_max: int = 10_000


def differing_fields(request: TransactionRequest, recorded: Decision | Entry) -> list[str]:
    """Names of the request's fields that differ from what is recorded under its uuid.

    A timestamp that the request leaves out matches any; one that it gives must be equal.
    """
    differing = []
    if request.user_id != recorded.user_id:
        differing.append("user_id")
    amount = recorded.amount or 0
    if (request.amount > 0) != (amount > 0):
        differing.append("type")
    if abs(request.amount) != abs(amount):
        differing.append("amount")
    if request.timestamp is not None and request.timestamp != recorded.timestamp:
        differing.append("timestamp")
    return differing
