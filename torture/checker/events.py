"""Check of the delivered events against the final log: every event is delivered at least once, in order, and there are
no other events.

The promises are listed in docs/howto/consume-events.md. Events of types that don't belong to the ledger are checked in
one respect only: a redelivery must be identical.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from torture.checker.entry import (
    POSTED,
    ZERO,
    read_entry,
    read_integer,
    read_moment,
    read_money,
    read_text,
)
from torture.checker.fault import Finding, FindingKind, MalformedError
from torture.checker.final import FinalRead
from torture.history import Delivery

USER_CREATED: Final = "saldo.user.created"
TRANSACTION_POSTED: Final = "saldo.transaction.posted"
TRANSACTION_REFUSED: Final = "saldo.transaction.refused"


def check_events(
    deliveries: Sequence[Delivery], consumers: Sequence[str], final: FinalRead
) -> Iterator[Finding]:
    """Yield the faults of each consumer.

    Args:
        consumers: the consumers that must have received every event. Other consumers may have started late or stopped
            early; what they received is checked in all other respects.
    """
    openings: dict[int, str] = {}
    for consumer, events in _by_consumer(deliveries, consumers).items():
        ear = _Consumer(consumer, final, openings)
        for event in events:
            yield from ear.check_delivery(event)
        if consumer in consumers:
            yield from ear.find_missing()


def _by_consumer(
    deliveries: Sequence[Delivery], consumers: Sequence[str]
) -> dict[str, list[Mapping[str, Any]]]:
    events: dict[str, list[Mapping[str, Any]]] = {consumer: [] for consumer in consumers}
    for delivery in deliveries:
        events.setdefault(delivery.consumer, []).append(delivery.event)
    return events


class _EventContent(NamedTuple):
    """The user and number of an event, and the fault in its content, if there is one."""

    user_id: int
    number: int
    fault: Finding | None


@dataclass(slots=True)
class _Consumer:
    """One consumer and the events that it has received so far.

    Attributes:
        openings: the id of each user's opening event, which must be the same for all consumers.
    """

    name: str
    final: FinalRead
    openings: dict[int, str]
    _events: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _numbers: dict[int, set[int]] = field(default_factory=dict)
    _last: dict[int, int] = field(default_factory=dict)

    def check_delivery(self, event: Mapping[str, Any]) -> Iterator[Finding]:
        """Yield the faults of one delivery."""
        try:
            id_ = read_text(event, "id")
            before = self._events.setdefault(id_, event)
            if before is not event:
                if before != event:
                    yield self._fault(
                        FindingKind.EVENT_REPEATED_DIFFERENTLY, event, f"it was {before}"
                    )
                return
            told = self._read(id_, event)
        except MalformedError as error:
            yield self._fault(FindingKind.MALFORMED, event, str(error))
            return
        match told:
            case None:
                pass
            case Finding():
                yield told
            case _EventContent(user_id, number, fault):
                if fault is not None:
                    yield fault
                yield from self._in_order(user_id, number, event)

    def find_missing(self) -> Iterator[Finding]:
        """Yield a fault for each event that the consumer has never received; called after the last delivery."""
        for account in self.final.accounts.values():
            heard = self._numbers.get(account.user_id, set())
            if 0 not in heard:
                message = f"{self.name} wasn't told that the user was created"
                yield Finding(FindingKind.EVENT_MISSING, account.user_id, message)
            for entry in account.entries:
                if entry.number not in heard:
                    message = f"{self.name} wasn't told of {entry}"
                    yield Finding(FindingKind.EVENT_MISSING, account.user_id, message)

    def _in_order(self, user_id: int, number: int, event: Mapping[str, Any]) -> Iterator[Finding]:
        """Check that numbers increase in the order in which they are first delivered.

        A number that is never delivered is reported by `find_missing`.
        """
        self._numbers.setdefault(user_id, set()).add(number)
        last = self._last.setdefault(user_id, number)
        if number < last:
            message = f"number {number} came first after number {last} had come"
            yield self._fault(FindingKind.EVENT_OUT_OF_ORDER, event, message)
        self._last[user_id] = max(last, number)

    def _read(self, id_: str, event: Mapping[str, Any]) -> _EventContent | Finding | None:
        type_, data = read_text(event, "type"), event.get("data")
        if type_ not in {USER_CREATED, TRANSACTION_POSTED, TRANSACTION_REFUSED}:
            return None
        if not isinstance(data, Mapping):
            raise MalformedError("it has no data")
        if type_ == USER_CREATED:
            return self._read_created(id_, event, data)
        told = read_entry(data)
        entry = self.final.by_uuid.get(told.uuid)
        if entry is None:
            return self._fault(FindingKind.EVENT_OF_NOTHING, event, f"there is no {told}")
        expected = TRANSACTION_POSTED if entry.outcome == POSTED else TRANSACTION_REFUSED
        envelope = (id_.lower(), type_, event.get("subject"), read_moment(event, "time"))
        fault = None
        if told.balance < 0:
            message = f"the balance is {told.balance}"
            fault = self._fault(FindingKind.NEGATIVE_BALANCE, event, message)
        elif told != entry:
            fault = self._fault(FindingKind.EVENT_DIFFERS, event, f"what is there is {entry!r}")
        elif envelope != (entry.uuid, expected, str(entry.user_id), entry.recorded_at):
            message = f"the envelope isn't that of {entry!r}"
            fault = self._fault(FindingKind.EVENT_DIFFERS, event, message)
        return _EventContent(entry.user_id, entry.number, fault)

    def _read_created(
        self, id_: str, event: Mapping[str, Any], data: Mapping[str, Any]
    ) -> _EventContent | Finding | None:
        user_id = read_integer(data, "id")
        if user_id not in self.final.accounts:
            return None  # The call that created the user may have had no answer.
        opening = self.openings.setdefault(user_id, id_)
        if opening != id_ or id_.lower() in self.final.by_uuid:
            message = f"the user's creation is the event {opening}"
            return self._fault(FindingKind.EVENT_OF_NOTHING, event, message)
        zero = read_integer(data, "number") == 0 and read_money(data, "balance") == ZERO
        # The event's time is the recorded time of the entry; the user's row is created just before.
        recorded_at, created_at = read_moment(event, "time"), read_moment(data, "created_at")
        time = recorded_at is not None and created_at is not None and created_at <= recorded_at
        fault = None
        if not (zero and time and event.get("subject") == str(user_id)):
            message = "a user begins with number 0 and nothing"
            fault = self._fault(FindingKind.EVENT_DIFFERS, event, message)
        return _EventContent(user_id, 0, fault)

    def _fault(self, kind: FindingKind, event: Mapping[str, Any], message: str) -> Finding:
        user_id = _user_id(event)
        data = event.get("data")
        number = data.get("number") if isinstance(data, Mapping) else None
        what = f"{self.name} got {event.get('type')} {event.get('id')}, number {number}"
        return Finding(kind, user_id, f"{what}: {message}")


def _user_id(event: Mapping[str, Any]) -> int | None:
    subject = event.get("subject")
    return int(subject) if isinstance(subject, str) and subject.isdecimal() else None
