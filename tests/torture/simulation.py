"""A simulated service with concurrent clients, delays, lost answers and retries, which produces valid histories.

Its ledger is the executable specification, which the checker doesn't use. Time is a number, and nothing waits.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from functools import partial
from itertools import count
from random import Random
from typing import Any
from uuid import UUID

from saldo.ledger.model import Decision, Entry, Kind, LedgerLimits, Outcome, TransactionRequest
from saldo.ledger.specification import SpecifiedLedger
from torture.history import (
    Account,
    Call,
    Delivery,
    Evidence,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
)

START = datetime(2023, 10, 30, 12, tzinfo=UTC)
LIMITS = LedgerLimits(balance_max=1500, max_lateness=timedelta(hours=2), late_check_entries_max=6)
CONSUMERS = ("exchange", "webhook")


def simulate(random: Random, *, users: int = 2, clients: int = 3, calls: int = 8) -> Evidence:
    """Return the evidence of one run. calls: the number of calls of each client, retries included."""
    return _Service(random, users, clients, calls).run()


def transaction_body(entry: Entry) -> dict[str, Any]:
    """Return a transaction as the service writes it."""
    assert entry.timestamp is not None
    return {
        "uuid": str(entry.uuid),
        "type": "DEPOSIT" if entry.kind is Kind.DEPOSIT else "WITHDRAW",
        "amount": money(abs(entry.amount)),
        "user_id": entry.user_id,
        "timestamp": entry.timestamp.isoformat(),
        "outcome": entry.outcome.name.lower(),
        "balance": money(entry.balance),
        "number": entry.number,
        "recorded_at": entry.recorded_at.isoformat(),
    }


def money(minor: int) -> str:
    """Return an amount of minor units as the service writes it."""
    return str(Decimal(minor).scaleb(-2).quantize(Decimal("0.01")))


@dataclass
class _Answer:
    status: int
    body: dict[str, Any]
    replayed: bool = False


@dataclass
class _Service:
    random: Random
    users: int
    clients: int
    calls: int
    ledger: SpecifiedLedger = field(default_factory=lambda: SpecifiedLedger(LIMITS))
    operations: list[Operation] = field(default_factory=list)
    _sent: list[Post] = field(default_factory=list)
    _order: Iterator[int] = field(default_factory=count)
    _uuids: Iterator[int] = field(default_factory=lambda: count(0xA000))
    _waiting: list[tuple[float, int, Callable[[float], None]]] = field(default_factory=list)

    def run(self) -> Evidence:
        for user_id in range(1, self.users + 1):
            self.ledger.create_user(user_id, self._uuid(), START)
        for client in range(self.clients):
            self._at(self._delay(), partial(self._call, client, self.calls))
        while self._waiting:
            now, _, act = heapq.heappop(self._waiting)
            act(now)
        accounts = [self._account(user_id) for user_id in range(1, self.users + 1)]
        deliveries = [
            Delivery(consumer, event)
            for consumer in CONSUMERS
            for event in self._interleave_events()
        ]
        self.operations.sort(key=lambda operation: operation.invoked)
        return Evidence(self.operations, accounts, deliveries, CONSUMERS)

    def _call(self, client: int, left: int, now: float, call: Call | None = None) -> None:
        """Make a call, and schedule its effect, its answer or its timeout, and the client's next call."""
        if not left:
            return
        call = call or self._choose(now)
        lost = self.random.random() < 0.25
        effect = now + self._delay() * (self.random.choice((1, 1, 10)) if lost else 1)
        given_up = now + 1.5

        def later(then: float) -> None:
            again = call if lost and isinstance(call, Post) and self.random.random() < 0.7 else None
            self._call(client, left - 1, then, again)

        def take_effect(at: float) -> None:
            answer = self._answer(call, at)
            if lost:
                return
            answered = at + self._delay()
            self.operations.append(
                Operation(client, now, answered, call, answer.status, answer.body, answer.replayed)
            )
            self._at(answered + self._delay() / 10, later)

        if not lost:
            self._at(effect, take_effect)
            return
        answered, status = (None, None) if self.random.random() < 0.5 else (given_up, 503)
        body = {"code": "outcome_unknown"} if status else None
        self.operations.append(Operation(client, now, answered, call, status, body))
        if self.random.random() < 0.6:
            self._at(effect, take_effect)
        self._at(given_up + self._delay() / 10, later)

    def _choose(self, now: float) -> Call:
        user_id = self.random.randint(1, self.users)
        chance = self.random.random()
        if chance < 0.6 or not self._sent:
            return self._post(user_id, now)
        if chance < 0.7:
            date = self._moment(now).isoformat() if self.random.random() < 0.6 else None
            return ReadBalance(user_id, date)
        post = self.random.choice(self._sent)
        if chance < 0.8:
            return ReadTransaction(post.uuid, post.user_id)
        if chance < 0.9:
            return ListTransactions(user_id, self.random.randint(1, 4))
        if chance < 0.95:
            return post
        return Post(post.uuid, user_id, post.type, "77", post.timestamp)

    def _post(self, user_id: int, now: float) -> Post:
        timestamp = self._moment(now).isoformat() if self.random.random() < 0.7 else None
        kind = self.random.choice(("DEPOSIT", "DEPOSIT", "WITHDRAW"))
        amount = str(self.random.choice((1, 2, 3, "4.5")))
        post = Post(str(self._uuid()), user_id, kind, amount, timestamp)  # type: ignore[arg-type]
        self._sent.append(post)
        return post

    def _answer(self, call: Call, now: float) -> _Answer:
        match call:
            case Post():
                return self._decide(call, now)
            case ReadBalance(user_id=user_id, date=date):
                moment = None if date is None else datetime.fromisoformat(date)
                balance = money(self.ledger.get_balance(user_id, moment))
                return _Answer(200, {"user_id": user_id, "balance": balance, "date": date})
            case ReadTransaction(uuid=uuid):
                for user_id in range(1, self.users + 1):
                    for entry in self.ledger.list_entries(user_id):
                        if str(entry.uuid) == uuid:
                            return _Answer(200, transaction_body(entry))
                return _Answer(404, {"code": "transaction_not_found"})
            case ListTransactions(user_id=user_id, limit=limit):
                entries = self.ledger.list_entries(user_id)[1:]
                page = [transaction_body(entry) for entry in reversed(entries[-limit:])]
                more = "more" if len(entries) > limit else None
                return _Answer(200, {"items": page, "next_cursor": more})

    def _decide(self, post: Post, now: float) -> _Answer:
        sign = 1 if post.type == "DEPOSIT" else -1
        request = TransactionRequest(
            UUID(post.uuid),
            post.user_id,
            sign * int(Decimal(post.amount) * 100),
            None if post.timestamp is None else datetime.fromisoformat(post.timestamp),
        )
        [decision] = self.ledger.post([request], START + timedelta(minutes=now))
        status = _STATUSES[decision.outcome]
        code = decision.outcome.name.lower()
        if not decision.outcome.is_recorded:
            return _Answer(status, {"code": code})
        # The service may have retried by itself; then it learns the outcome without knowing that it is a replay.
        replayed = decision.replayed and self.random.random() < 0.8
        if self.random.random() < 0.3:
            return _Answer(status, self._line(post, code, status, decision), replayed)
        body = transaction_body(self.ledger.list_entries(post.user_id)[decision.number or 0])
        if decision.outcome is not Outcome.POSTED:
            body = {"code": code, "balance": body["balance"], "transaction": body}
        return _Answer(status, body, replayed)

    def _line(self, post: Post, code: str, status: int, decision: Decision) -> dict[str, Any]:
        return {
            "line": self.random.randint(1, 9),
            "status": status,
            "code": code,
            "uuid": post.uuid,
            "balance": money(decision.balance or 0),
            "number": decision.number,
        }

    def _account(self, user_id: int) -> Account:
        entries = self.ledger.list_entries(user_id)
        bodies = tuple(transaction_body(entry) for entry in entries[1:])
        return Account(user_id, money(entries[-1].balance), bodies)

    def _interleave_events(self) -> Iterator[dict[str, Any]]:
        """Yield every event in the order of each user, with the users interleaved and some events repeated."""
        queues = [list(self.ledger.list_entries(user_id)) for user_id in range(1, self.users + 1)]
        told: list[Entry] = []
        while queues := [queue for queue in queues if queue]:
            told.append(self.random.choice(queues).pop(0))
            yield event_of(told[-1])
            if self.random.random() < 0.2:
                yield event_of(self.random.choice(told))

    def _moment(self, now: float) -> datetime:
        minutes = self.random.choice((-130, -20, -7, -3, -1, 0, 0, 1, 7))
        return START + timedelta(minutes=now + minutes)

    def _delay(self) -> float:
        return self.random.uniform(0.01, 1)

    def _at(self, when: float, act: Callable[[float], None]) -> None:
        heapq.heappush(self._waiting, (when, next(self._order), act))

    def _uuid(self) -> UUID:
        return UUID(int=next(self._uuids))


def event_of(entry: Entry) -> dict[str, Any]:
    """Return an entry as a CloudEvent."""
    recorded_at = entry.recorded_at.isoformat()
    data: dict[str, Any]
    if entry.kind is Kind.OPENING:
        type_ = "saldo.user.created"
        data = {"id": entry.user_id, "balance": "0.00", "number": 0, "created_at": recorded_at}
    else:
        posted = entry.outcome is Outcome.POSTED
        type_ = f"saldo.transaction.{'posted' if posted else 'refused'}"
        data = transaction_body(entry)
    return {
        "specversion": "1.0",
        "id": str(entry.uuid),
        "source": "/saldo",
        "type": type_,
        "subject": str(entry.user_id),
        "time": recorded_at,
        "data": data,
    }


_STATUSES = {
    Outcome.POSTED: 200,
    Outcome.INSUFFICIENT_FUNDS: 402,
    Outcome.BALANCE_ABOVE_MAXIMUM: 409,
    Outcome.UUID_CONFLICT: 409,
    Outcome.USER_NOT_FOUND: 404,
    Outcome.TIMESTAMP_IN_FUTURE: 422,
    Outcome.TIMESTAMP_TOO_LATE: 422,
    Outcome.LATE_CHECK_TOO_LONG: 422,
}
