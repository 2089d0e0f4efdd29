"""What is sent and what is answered: names are the API's, money is `Decimal`, times are aware `datetime`s.

Fields that a newer service adds are passed over.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from saldo.client.proof import check

T = TypeVar("T")

TransactionType: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]
Outcome: TypeAlias = Literal["posted", "insufficient_funds", "balance_above_maximum"]
Scope: TypeAlias = Literal["read", "write", "metrics", "admin"]
EventType: TypeAlias = Literal[
    "saldo.user.created", "saldo.transaction.posted", "saldo.transaction.refused"
]
RelayedEventType: TypeAlias = EventType | Literal["saldo.webhook.disabled"]
Instant: TypeAlias = datetime | str
"""An aware datetime; or a text, which the service reads in any of its forms, without an offset in its own zone."""

Amount: TypeAlias = Decimal | int | str
"""Never a float: 0.1 is not one tenth there."""


class User(Struct, frozen=True):
    """A user and the balance of now."""

    id: int
    name: str
    balance: Decimal
    created_at: datetime


class Balance(Struct, frozen=True):
    """A balance: now, or at a moment, as known now or at a moment."""

    user_id: int
    balance: Decimal
    date: datetime | None
    before: datetime | None
    known_at: datetime | None


class Transaction(Struct, frozen=True):
    """A transaction as it is recorded.

    Attributes:
        balance: right after it was recorded.
        number: 1, 2, 3 … per user, without gaps, refusals counted.
        replayed: an earlier attempt had recorded it, this one's or somebody else's. Of posting only.
    """

    uuid: UUID
    type: TransactionType
    amount: Decimal
    user_id: int
    timestamp: datetime
    outcome: Outcome
    balance: Decimal
    number: int
    recorded_at: datetime
    replayed: bool = False


class Posted(Struct, frozen=True):
    """One of many transactions, that was posted: `balance`, `number` and `replayed` as of `Transaction`."""

    uuid: UUID
    balance: Decimal
    number: int
    replayed: bool


class Page(Struct, Generic[T], frozen=True):
    """A part of a list. next_cursor: where the next begins; None: there is none."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class TransactionData(Struct, frozen=True):
    """A transaction in an event: as `Transaction`, and its position in the log."""

    uuid: UUID
    type: TransactionType
    amount: Decimal
    user_id: int
    timestamp: datetime
    outcome: Outcome
    balance: Decimal
    number: int
    recorded_at: datetime
    shard: int
    seq: int


class UserData(Struct, frozen=True):
    """A new user in an event; number 0, from which the user's transactions count."""

    id: int
    name: str
    balance: Decimal
    number: int
    created_at: datetime
    shard: int
    seq: int


class Event(Struct, frozen=True):
    """An event of the live stream.

    Attributes:
        id: never changes; by it an event that comes again is known.
        position: keep it when you are done with this event, and resume there. At it or before it; "" until one came.
        data: a `UserData` for saldo.user.created, else a `TransactionData`.
    """

    id: str
    type: EventType
    time: datetime
    data: TransactionData | UserData
    position: str

    @property
    def user_id(self) -> int:
        """Whose event it is."""
        return self.data.id if isinstance(self.data, UserData) else self.data.user_id


class Webhook(Struct, frozen=True):
    """A subscription. `secret`: only in the answer that makes it. event_types, user_ids: None: all."""

    id: int
    url: str
    event_types: tuple[RelayedEventType, ...] | None
    user_ids: tuple[int, ...] | None
    enabled: bool
    created_at: datetime
    disabled_at: datetime | None
    disabled_reason: str | None
    failing_since: datetime | None
    attempts_succeeded: int
    attempts_failed: int
    last_failure: str | None
    last_failure_at: datetime | None
    deliveries_waiting: int
    deliveries_dead: int
    secret: str | None = None


class Delivery(Struct, frozen=True):
    """An event that waits for a webhook, or was given up."""

    event_id: str
    user_id: int
    shard: int
    seq: int
    state: Literal["waiting", "dead"]
    attempts: int
    waiting_since: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_failure: str | None
    dead_at: datetime | None


class Key(Struct, frozen=True):
    """A key. `key`, what its holder sends: only in the answer that makes it. user_ids, networks: None: all."""

    id: int
    name: str
    scopes: tuple[Scope, ...]
    user_ids: tuple[int, ...] | None
    networks: tuple[str, ...] | None
    valid: bool
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: int | None
    key: str | None = None


class Seal(Struct, frozen=True):
    """A hash over consecutive entries of a shard and over the seal before; hashes in hexadecimal."""

    shard: int
    first_seq: int
    last_seq: int
    previous: str
    root: str
    hash: str
    sealed_at: datetime


class Seals(Struct, frozen=True):
    """Seals. `document` is the answer as it came: keep it, as JSON, where the service can't change it.

    next_after: what to go on with; None: that was all.
    """

    items: tuple[Seal, ...]
    next_after: int | None
    document: dict[str, Any]


class TransactionLog(Struct, frozen=True):
    """Some of a shard's log, in its order; it may come short, or empty.

    reached: what to go on after, now or when more is recorded. more: whether there is more now.
    """

    items: tuple[Transaction, ...]
    reached: int
    more: bool


class ProvenEntry(Struct, frozen=True):
    """An entry of the log, with everything that is hashed; `amount` and `balance` in minor units, a withdrawal's
    amount below zero."""

    shard: int
    seq: int
    user_id: int
    number: int
    uuid: UUID
    kind: Literal["OPENING", "DEPOSIT", "WITHDRAW"]
    outcome: Outcome
    amount: int
    balance: int
    timestamp: datetime | None
    horizon: datetime | None
    recorded_at: datetime


class Proof(Struct, frozen=True):
    """That an entry is in the log as it was sealed. `document` is the answer as it came."""

    version: int
    entry: ProvenEntry
    leaf_index: int
    path: tuple[str, ...]
    seal: Seal
    document: dict[str, Any]

    def verify(self, *, kept: tuple[Seals, ...] = (), chain: tuple[Seals, ...] = ()) -> str:
        """Checks it here, without the service; what is proven, in one line.

        Args:
            kept: seals that were kept elsewhere. chain: those that lead from the proof's to a kept one.

        Raises:
            saldo.client.proof.NotProvenError: why not.
        """
        return check(
            self.document,
            kept=[each.document for each in kept],
            chain=[each.document for each in chain],
        )


class FieldFault(Struct, frozen=True):
    """A member of `Problem.errors`."""

    field: str
    message: str


class Problem(Struct, frozen=True):
    """An error as the service writes it (RFC 9457), alone or in a line of many."""

    status: int
    code: str
    detail: str
    title: str = ""
    request_id: str | None = None
    errors: tuple[FieldFault, ...] = ()
    balance: Decimal | None = None
    needed: Decimal | None = None
    transaction: Transaction | None = None
    differing_fields: tuple[str, ...] = ()
    recorded: dict[str, Any] = {}
    user_id: int | None = None
    item: int | None = None
    uuid: UUID | None = None
    number: int | None = None
    replayed: bool = False


class Line(Struct, frozen=True):
    """A line of the answer to many: a posted transaction, or a problem."""

    line: int
    status: int
    code: str
    uuid: UUID | None = None
    balance: Decimal | UnsetType = UNSET
    number: int | UnsetType = UNSET
    replayed: bool = False
