"""Entries of the log as events: CloudEvents 1.0, structured, in JSON.

The schemas are in docs/reference/events; tests hold real events against them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from saldo.ledger.model import Kind, Outcome
from saldo.ledger.money import format_money
from saldo.ledger.time import format_instant
from saldo.store.log import LogEntry

CONTENT_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = "/saldo"

USER_CREATED: Final = "saldo.user.created"
TRANSACTION_POSTED: Final = "saldo.transaction.posted"
TRANSACTION_REFUSED: Final = "saldo.transaction.refused"
EVENT_TYPES: Final = (USER_CREATED, TRANSACTION_POSTED, TRANSACTION_REFUSED)

EventType = Literal["saldo.user.created", "saldo.transaction.posted", "saldo.transaction.refused"]

_OUTCOME_NAMES: Final = {int(outcome): outcome.name.lower() for outcome in Outcome}
_ROUTES: Final = {
    USER_CREATED: "created",
    TRANSACTION_POSTED: "transaction.posted",
    TRANSACTION_REFUSED: "transaction.refused",
}


class TransactionData(msgspec.Struct, frozen=True):
    """A transaction, as the API writes it, and its position in the log."""

    uuid: str
    type: Literal["DEPOSIT", "WITHDRAW"]
    amount: str
    user_id: int
    timestamp: str
    outcome: str
    balance: str
    number: int
    recorded_at: str
    shard: int
    seq: int


class UserData(msgspec.Struct, frozen=True):
    """A new user: number 0, from which the user's transactions count."""

    id: int
    name: str
    balance: str
    number: int
    created_at: str
    shard: int
    seq: int


class CloudEvent(msgspec.Struct, frozen=True):
    """The envelope."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: EventType
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    data: TransactionData | UserData


class Event(NamedTuple):
    """What a sink is given.

    Attributes:
        id: made from the entry's uuid, so the same for every redelivery, also after a restore.
        body: the event in JSON.
    """

    id: str
    type: EventType
    user_id: int
    number: int
    shard: int
    seq: int
    body: bytes

    @property
    def routing_key(self) -> str:
        """`user.1.transaction.posted`, `user.1.transaction.refused`, `user.1.created`."""
        return f"user.{self.user_id}.{_ROUTES[self.type]}"


class Encoder:
    """Makes events of entries."""

    def __init__(self, decimals: int) -> None:
        self._decimals = decimals
        self._encode = msgspec.json.Encoder().encode

    def event(self, entry: LogEntry) -> Event:
        """The event of one entry."""
        uuid = str(entry.uuid)
        recorded_at = format_instant(entry.recorded_at)
        type_: EventType
        data: TransactionData | UserData
        if entry.kind == Kind.OPENING:
            type_ = USER_CREATED
            data = UserData(
                entry.user_id,
                entry.user_name or "",
                format_money(0, self._decimals),
                0,
                recorded_at,
                entry.shard,
                entry.seq,
            )
        else:
            type_ = type_of(entry)
            data = TransactionData(
                uuid,
                "DEPOSIT" if entry.kind == Kind.DEPOSIT else "WITHDRAW",
                format_money(abs(entry.amount), self._decimals),
                entry.user_id,
                recorded_at
                if entry.timestamp == entry.recorded_at
                else format_instant(entry.timestamp),
                _OUTCOME_NAMES[entry.outcome],
                format_money(entry.balance, self._decimals),
                entry.number,
                recorded_at,
                entry.shard,
                entry.seq,
            )
        event = CloudEvent(
            *("1.0", uuid, SOURCE, type_, str(entry.user_id), recorded_at, "application/json"), data
        )
        body = self._encode(event)
        return Event(uuid, type_, entry.user_id, entry.number, entry.shard, entry.seq, body)


def type_of(entry: LogEntry) -> EventType:
    """The type of the event that an entry becomes."""
    if entry.kind == Kind.OPENING:
        return USER_CREATED
    return TRANSACTION_POSTED if entry.outcome == Outcome.POSTED else TRANSACTION_REFUSED
