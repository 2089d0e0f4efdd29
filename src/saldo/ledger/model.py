"""The types of the ledger: transaction request, entry, outcome, decision and limits.

The numbers of `Kind` and `Outcome` are stable, because they are stored in the log. They are never reused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Final, NamedTuple
from uuid import UUID

from saldo.ledger.money import BALANCE_MAX

SHARDS: Final = 64
"""Number of shards, which never changes."""

USER_ID_MAX: Final = 2**63 - 1
"""Greatest user id that a bigint holds."""

SEQ_MAX: Final = 2**63 - 1
"""Greatest position in a shard's log that a bigint holds."""


def compute_shard(user_id: int) -> int:
    """Return the shard whose log contains the user's entries."""
    return user_id % SHARDS


class Kind(IntEnum):
    """The kind of an entry."""

    OPENING = 0
    DEPOSIT = 1
    WITHDRAWAL = 2


class Outcome(IntEnum):
    """The outcome of a request. Refusals are values and not exceptions. Outcomes with numbers below 10 are recorded in
    the log and final."""

    POSTED = 0
    INSUFFICIENT_FUNDS = 1
    BALANCE_ABOVE_MAXIMUM = 2

    UUID_CONFLICT = 10
    USER_NOT_FOUND = 11
    TIMESTAMP_IN_FUTURE = 12
    TIMESTAMP_TOO_LATE = 13
    LATE_CHECK_TOO_LONG = 14

    @property
    def is_recorded(self) -> bool:
        """True if entries with this outcome are recorded in the log, under the request's uuid."""
        return self < Outcome.UUID_CONFLICT


class TransactionRequest(NamedTuple):
    """A deposit or withdrawal that a client requests.

    Attributes:
        amount: signed minor units, above zero for a deposit and below zero for a withdrawal. It is never zero.
        timestamp: the time at which the transaction takes effect; None means that the ledger chooses the time.
    """

    uuid: UUID
    user_id: int
    amount: int
    timestamp: datetime | None


@dataclass(frozen=True, slots=True)
class Entry:
    """An entry of the log. No field is ever changed.

    Attributes:
        number: 1, 2, 3 … for each user, including refusals; 0 for the opening entry.
        amount: signed minor units, as requested.
        balance: the user's balance after this entry, in minor units.
        timestamp: the time at which the entry takes effect; None only for the opening entry (-infinity).
        horizon: the greatest timestamp posted for this user so far, including this entry.
        recorded_at: the time at which the ledger recorded the entry.
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
    """The ledger's decision about one request.

    The fields from `user_id` to `recorded_at` are those of the entry under the request's uuid. For a recorded or
    replayed outcome, this is the request's own entry. For a conflict, it is the entry of another request. If there is
    no entry, the fields are None.
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
class LedgerLimits:
    """The rules that a ledger's operator can set."""

    balance_max: int = BALANCE_MAX
    future_tolerance: timedelta = timedelta(minutes=5)
    max_lateness: timedelta | None = None
    late_check_entries_max: int = 10_000
    late_batch_entries_max: int = 20_000


def find_differing_fields(request: TransactionRequest, recorded: Decision | Entry) -> list[str]:
    """Return the names of the request's fields that differ from the entry under its uuid.

    A timestamp that the request omits matches any timestamp. Otherwise the two must be equal.
    """
    field_names = []
    if request.user_id != recorded.user_id:
        field_names.append("user_id")
    amount = recorded.amount or 0
    if (request.amount > 0) != (amount > 0):
        field_names.append("type")
    if abs(request.amount) != abs(amount):
        field_names.append("amount")
    if request.timestamp is not None and request.timestamp != recorded.timestamp:
        field_names.append("timestamp")
    return field_names
