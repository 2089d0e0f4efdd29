"""Requests and responses of the API, under the API's names. Money is `Decimal`, and times are aware `datetime`s.

Fields that a newer service adds are ignored.
"""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal
from typing import Any, Generic, Literal, TypeAlias, TypeVar
from uuid import UUID

from msgspec import UNSET, Struct, UnsetType

from saldo.client.proof import InvalidProofError, verify_proof

T = TypeVar("T")

TransactionType: TypeAlias = Literal["DEPOSIT", "WITHDRAW"]
Outcome: TypeAlias = Literal["posted", "insufficient_funds", "balance_above_maximum"]
Scope: TypeAlias = Literal["read", "write", "metrics", "admin"]
EventType: TypeAlias = Literal[
    "saldo.user.created", "saldo.transaction.posted", "saldo.transaction.refused"
]
RelayedEventType: TypeAlias = EventType | Literal["saldo.webhook.disabled"]
Instant: TypeAlias = datetime | str
"""An aware datetime, or a text in any form that the service accepts. A text without an offset is taken to be in
the service's zone."""

Amount: TypeAlias = Decimal | int | str
"""An amount. A float is not accepted, because it can't hold 0.1 exactly."""


class User(Struct, frozen=True):
    """A user and the current balance."""

    id: int
    name: str
    balance: Decimal
    created_at: datetime


class Balance(Struct, frozen=True):
    """A user's balance, now or at a date, as it is known now or was known at an earlier time."""

    user_id: int
    balance: Decimal
    date: datetime | None
    before: datetime | None
    known_at: datetime | None


class Transaction(Struct, frozen=True):
    """A transaction as it is recorded.

    Attributes:
        balance: The balance right after the transaction was recorded.
        number: The position among the user's transactions: 1, 2, 3 … without gaps, refused ones included.
        replayed: True if an earlier attempt, of this client or of another one, had recorded the transaction. It is set
            only in results of posting.
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
    """A posted transaction of a bulk request. `balance`, `number` and `replayed` are those of `Transaction`."""

    uuid: UUID
    balance: Decimal
    number: int
    replayed: bool


class Page(Struct, Generic[T], frozen=True):
    """A page of a list. `next_cursor` is the cursor of the next page; None if there is none."""

    items: tuple[T, ...]
    next_cursor: str | None = None


class TransactionData(Struct, frozen=True):
    """The data of an event about a transaction: the fields of `Transaction`, and the position in the log."""

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
    """The data of an event about a new user. Its `number` is 0; the numbers of the user's transactions begin with 1."""

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
        id: The permanent id of the event, by which a repeated event is recognized.
        position: The position to resume from once this event is processed. It may be a position before this event. It
            is "" until the stream has sent a position.
        data: A `UserData` for saldo.user.created, otherwise a `TransactionData`.
    """

    id: str
    type: EventType
    time: datetime
    data: TransactionData | UserData
    position: str

    @property
    def user_id(self) -> int:
        """The id of the user to whom the event belongs."""
        return self.data.id if isinstance(self.data, UserData) else self.data.user_id


class Webhook(Struct, frozen=True):
    """A webhook. `secret` is set only in the response that creates it.

    `event_types` is None if the webhook receives events of all types. `user_ids` is None if it receives events of all
    users.
    """

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
    deliveries_pending: int
    deliveries_dead: int
    secret: str | None = None


class Delivery(Struct, frozen=True):
    """The delivery of an event to a webhook. It is pending or dead."""

    event_id: str
    user_id: int
    shard: int
    seq: int
    state: Literal["pending", "dead"]
    attempts: int
    pending_since: datetime
    next_attempt_at: datetime | None
    last_attempt_at: datetime | None
    last_failure: str | None
    dead_at: datetime | None


class Key(Struct, frozen=True):
    """A key. `key` is the secret, which is set only in the response that creates it.

    `user_ids` is None if the key can access all users. `networks` is None if the key is valid in all networks.
    """

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
    """A seal: a hash over consecutive entries of a shard and the previous seal. Hashes are in hexadecimal."""

    shard: int
    first_seq: int
    last_seq: int
    previous: str
    root: str
    hash: str
    sealed_at: datetime


class Seals(Struct, frozen=True):
    """A page of seals.

    Attributes:
        next_after: The value of `after` for the next page; None if there is none.
        document: The response as it was received. Store it, as JSON, where the service can't change it.
    """

    items: tuple[Seal, ...]
    next_after: int | None
    document: dict[str, Any]


class TransactionLog(Struct, frozen=True):
    """A part of the log of a shard, in its order. It may be shorter than the limit, or empty.

    Attributes:
        reached: The value of `after` for the next part. If `more` is false, use it after more entries were recorded.
        more: Whether the log has more entries now.
    """

    items: tuple[Transaction, ...]
    reached: int
    more: bool


class ProvenEntry(Struct, frozen=True):
    """An entry of the log with everything that is hashed.

    `amount` and `balance` are in minor units, and the amount of a withdrawal is negative.
    """

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
    """A proof that an entry is part of the sealed log. `document` is the response as it was received."""

    version: int
    entry: ProvenEntry
    leaf_index: int
    path: tuple[str, ...]
    seal: Seal
    document: dict[str, Any]

    def verify(
        self,
        *,
        kept: tuple[Seals, ...] = (),
        chain: tuple[Seals, ...] = (),
        self_consistent: bool = False,
    ) -> str:
        """Verify the proof locally, without the service, and return a summary of it in one line.

        Args:
            kept: Seals that were stored elsewhere (anchors).
            chain: Seals that lead from the proof's seal to a kept one.
            self_consistent: Whether to accept a proof that is consistent in itself but leads to no kept seal. Anybody
                can make up such a proof.

        Raises:
            saldo.client.proof.InvalidProofError: The proof is wrong, or leads to no seal in `kept`.
        """
        checked = verify_proof(
            self.document,
            kept=[each.document for each in kept],
            chain=[each.document for each in chain],
        )
        if not checked.anchored and not self_consistent:
            raise InvalidProofError(
                "without a saved seal (kept=...), the proof may be forged; self_consistent=True accepts that"
            )
        return checked.line


class FieldFault(Struct, frozen=True):
    """One error in a request: the name of the field in the API, and a message."""

    field: str
    message: str


class Problem(Struct, frozen=True):
    """An error response of the service (RFC 9457), or the error in a line of a bulk response."""

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
    """A line of a bulk response: a posted transaction or a problem."""

    line: int
    status: int
    code: str
    uuid: UUID | None = None
    balance: Decimal | UnsetType = UNSET
    number: int | UnsetType = UNSET
    replayed: bool = False
