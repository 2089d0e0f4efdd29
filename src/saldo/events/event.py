"""Events: CloudEvents 1.0 in JSON (structured mode), made from entries of the log and from notices.

Their schemas are in docs/reference/events, and tests compare real events with them.
"""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

import msgspec

from saldo.encoding.json import encode_json
from saldo.ledger.instants import format_instant
from saldo.ledger.model import Kind, Outcome
from saldo.ledger.money import format_money
from saldo.store.log import NOTICES_SHARD, LogEntry, Notice

CONTENT_TYPE: Final = "application/cloudevents+json"
SOURCE: Final = "/saldo"

USER_CREATED: Final = "saldo.user.created"
TRANSACTION_POSTED: Final = "saldo.transaction.posted"
TRANSACTION_REFUSED: Final = "saldo.transaction.refused"
WEBHOOK_DISABLED: Final = "saldo.webhook.disabled"
EVENT_TYPES: Final = (USER_CREATED, TRANSACTION_POSTED, TRANSACTION_REFUSED)
"""Types of the events made from entries of the log. The live stream has only these events."""
RELAYED_EVENT_TYPES: Final = (*EVENT_TYPES, WEBHOOK_DISABLED)
"""Types of the events that sinks receive: the events made from entries of the log, and those made from notices."""

EventType = Literal["saldo.user.created", "saldo.transaction.posted", "saldo.transaction.refused"]
RelayedEventType = EventType | Literal["saldo.webhook.disabled"]

NOTICE_USER_ID: Final = 0
"""User id of events made from notices. Like a user's events, these are delivered one at a time and in order."""

_OUTCOME_NAMES: Final = {int(outcome): outcome.name.lower() for outcome in Outcome}
_ROUTES: Final = {
    USER_CREATED: "created",
    TRANSACTION_POSTED: "transaction.posted",
    TRANSACTION_REFUSED: "transaction.refused",
    WEBHOOK_DISABLED: "disabled",
}


class TransactionData(msgspec.Struct, frozen=True):
    """The `data` of an event about a transaction: the transaction in the format of the API, with its position in the
    log."""

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
    """The `data` of the event about a new user. Its `number` is 0, and the user's transactions have the numbers 1, 2, 3
    …"""

    id: int
    name: str
    balance: str
    number: int
    created_at: str
    shard: int
    seq: int


class WebhookData(msgspec.Struct, frozen=True):
    """The `data` of the event that reports a webhook that the service has disabled."""

    id: int
    disabled_at: str
    disabled_reason: Literal["gone", "failing"]
    failing_since: str | None
    last_failure: str | None
    seq: int


class CloudEvent(msgspec.Struct, frozen=True):
    """The envelope of an event."""

    specversion: Literal["1.0"]
    id: str
    source: str
    type: RelayedEventType
    subject: str
    time: str
    datacontenttype: Literal["application/json"]
    data: TransactionData | UserData | WebhookData


class Event(NamedTuple):
    """An event as sinks receive it.

    Attributes:
        id: the uuid of the entry or the notice, which is the same in every delivery, also after a restore.
        user_id: the user's id; `NOTICE_USER_ID` if the event is made from a notice.
        subject_id: the user's id; the webhook's id if the event is made from a notice.
        body: the event in JSON.
    """

    id: str
    type: RelayedEventType
    user_id: int
    subject_id: int
    number: int
    shard: int
    seq: int
    body: bytes

    @property
    def routing_key(self) -> str:
        """The routing key, such as `user.1.transaction.posted`, `user.1.created` or `webhook.1.disabled`."""
        subject = "webhook" if self.type == WEBHOOK_DISABLED else "user"
        return f"{subject}.{self.subject_id}.{_ROUTES[self.type]}"


class EventEncoder:
    """An encoder of events."""

    def __init__(self, decimals: int) -> None:
        self._decimals = decimals

    def encode(self, entry: LogEntry | Notice) -> Event:
        """Return the event of an entry or a notice."""
        if isinstance(entry, Notice):
            return self._encode_notice(entry)
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
                format_instant(entry.timestamp),
                entry.shard,
                entry.seq,
            )
        else:
            type_ = get_event_type(entry)
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
        body = encode_json(event)
        user_id = entry.user_id
        return Event(uuid, type_, user_id, user_id, entry.number, entry.shard, entry.seq, body)

    def _encode_notice(self, notice: Notice) -> Event:
        uuid, id_ = str(notice.uuid), notice.webhook_id
        disabled_at = format_instant(notice.recorded_at)
        since = notice.failing_since
        data = WebhookData(
            id_,
            disabled_at,
            notice.reason,
            None if since is None else format_instant(since),
            notice.last_failure,
            notice.seq,
        )
        type_: Literal["saldo.webhook.disabled"] = WEBHOOK_DISABLED
        event = CloudEvent(
            *("1.0", uuid, SOURCE, type_, f"webhook-{id_}", disabled_at, "application/json"), data
        )
        body = encode_json(event)
        return Event(uuid, type_, NOTICE_USER_ID, id_, 0, NOTICES_SHARD, notice.seq, body)


def get_event_type(entry: LogEntry) -> EventType:
    """Return the type of an entry's event."""
    if entry.kind == Kind.OPENING:
        return USER_CREATED
    return TRANSACTION_POSTED if entry.outcome == Outcome.POSTED else TRANSACTION_REFUSED
