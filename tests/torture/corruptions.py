"""Ways to falsify evidence: each makes one kind of false statement where that is possible, and names the fault.

A corruption returns None when the evidence offers no place for it, or when the result would be valid, too.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import timedelta
from decimal import Decimal
from random import Random
from typing import Any, TypeAlias, TypeVar

import msgspec

from tests.torture.simulation import START
from torture.checker import FindingKind
from torture.history import (
    Account,
    Delivery,
    Evidence,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
)

T = TypeVar("T")
Corruption: TypeAlias = Callable[[Evidence, Random], Evidence | None]

NOBODY_SENT = "00000000-0000-4000-8000-000000000001"


def lose_the_last(evidence: Evidence, random: Random) -> Evidence | None:
    """Remove a user's last transaction, which was acknowledged, from the final log; nothing else shows the loss."""
    account = _one(
        random,
        [
            account
            for account in evidence.accounts
            if account.transactions and _is_acknowledged(evidence, account.transactions[-1]["uuid"])
        ],
    )
    if account is None:
        return None
    entries = account.transactions[:-1]
    balance = entries[-1]["balance"] if entries else "0.00"
    return _with_account(evidence, Account(account.user_id, balance, entries))


def double(evidence: Evidence, random: Random) -> Evidence | None:
    """Record a transaction a second time, with consistent numbers and balances."""
    account = _one(random, [account for account in evidence.accounts if account.transactions])
    if account is None:
        return None
    entry, last = random.choice(account.transactions), account.transactions[-1]
    balance = str(Decimal(account.balance) + _change(entry))
    again = {
        **entry,
        "number": last["number"] + 1,
        "balance": balance,
        "recorded_at": last["recorded_at"],
    }
    return _with_account(
        evidence, Account(account.user_id, balance, (*account.transactions, again))
    )


def swap_times(evidence: Evidence, random: Random) -> Evidence | None:
    """Exchange the times of two transactions, one of which was acknowledged before the other was sent."""
    posts = [
        operation
        for operation in evidence.operations
        if isinstance(operation.call, Post)
        and _is_recorded(operation)
        and len(_attempts(evidence, operation.call.uuid)) == 1
    ]
    pair = _one(
        random,
        [
            (one, other)
            for one in posts
            for other in posts
            if one.call.user_id == other.call.user_id and _end(one) < other.invoked
        ],
    )
    if pair is None:
        return None
    one, other = pair
    swapped = [
        msgspec.structs.replace(one, invoked=other.invoked, answered=other.answered),
        msgspec.structs.replace(other, invoked=one.invoked, answered=one.answered),
    ]
    rest = [operation for operation in evidence.operations if operation not in pair]
    return replace(evidence, operations=[*rest, *swapped])


def send_too_late(evidence: Evidence, random: Random) -> Evidence | None:
    """Send an unanswered transaction only after one with a greater number was acknowledged."""
    choices = []
    for account in evidence.accounts:
        for entry, after in zip(account.transactions, account.transactions[1:], strict=False):
            attempts = _attempts(evidence, entry["uuid"])
            if len(attempts) == 1 and attempts[0].answered is None:
                choices += [
                    (attempts[0], operation)
                    for operation in _attempts(evidence, after["uuid"])
                    if _is_recorded(operation)
                ]
    choice = _one(random, choices)
    if choice is None:
        return None
    unknown, acknowledged = choice
    late = msgspec.structs.replace(unknown, invoked=_end(acknowledged) + 0.001)
    return _with_operation(evidence, unknown, late)


def read_stale(evidence: Evidence, random: Random) -> Evidence | None:
    """Return the old balance to a read after an acknowledged transaction."""
    return _read_stale(evidence, random, at_date=False)


def read_stale_at_date(evidence: Evidence, random: Random) -> Evidence | None:
    """Return a balance without an acknowledged transaction to a read at its date."""
    return _read_stale(evidence, random, at_date=True)


def _read_stale(evidence: Evidence, random: Random, *, at_date: bool) -> Evidence | None:
    choices = []
    for operation, entry, account in _acknowledgements(evidence):
        date = entry["timestamp"] if at_date else None
        balances = [
            _balance(account.transactions[:count], date)
            for count in range(entry["number"] - 1, len(account.transactions) + 1)
        ]
        if balances[0] not in balances[1:]:
            choices.append((operation, date, balances[0]))
    choice = _one(random, choices)
    if choice is None:
        return None
    operation, date, balance = choice
    user_id = operation.call.user_id
    body = {"user_id": user_id, "balance": str(balance), "date": date}
    return _and_then(evidence, operation, ReadBalance(user_id, date), 200, body)


def list_stale(evidence: Evidence, random: Random) -> Evidence | None:
    """Leave an acknowledged transaction out of the newest page of a later list."""
    choice = _one(random, [*_acknowledgements(evidence)])
    if choice is None:
        return None
    operation, entry, account = choice
    items = [*reversed(account.transactions[: entry["number"] - 1])]
    call = ListTransactions(account.user_id, 1000)
    return _and_then(evidence, operation, call, 200, {"items": items, "next_cursor": None})


def forget(evidence: Evidence, random: Random) -> Evidence | None:
    """Answer 404 to a read of an acknowledged transaction."""
    choice = _one(random, [*_acknowledgements(evidence)])
    if choice is None:
        return None
    operation, entry, account = choice
    call = ReadTransaction(entry["uuid"], account.user_id)
    return _and_then(evidence, operation, call, 404, {"code": "transaction_not_found"})


def refuse_again(evidence: Evidence, random: Random) -> Evidence | None:
    """Refuse a retry of an acknowledged transaction as if it were new."""
    choice = _one(random, [*_acknowledgements(evidence)])
    if choice is None:
        return None
    operation, _, _ = choice
    return _and_then(evidence, operation, operation.call, 422, {"code": "timestamp_too_late"})


def foresee(evidence: Evidence, random: Random) -> Evidence | None:
    """Put a transaction into a list that was answered before the transaction was sent."""
    account = _one(random, [account for account in evidence.accounts if account.transactions])
    if account is None:
        return None
    first = min(
        operation.invoked
        for operation in evidence.operations
        if operation.call.user_id == account.user_id
    )
    body = {"items": [account.transactions[0]], "next_cursor": None}
    call = ListTransactions(account.user_id, 1)
    operation = Operation(99, first - 0.2, first - 0.1, call, 200, body)
    return replace(evidence, operations=[*evidence.operations, operation])


def read_negative(evidence: Evidence, random: Random) -> Evidence | None:
    """Return a negative balance."""
    operation = _one(
        random,
        [
            operation
            for operation in evidence.operations
            if isinstance(operation.call, ReadBalance) and operation.status == 200
        ],
    )
    if operation is None:
        return None
    body = {**(operation.body or {}), "balance": "-0.01"}
    return _with_operation(evidence, operation, msgspec.structs.replace(operation, body=body))


def overdraw(evidence: Evidence, random: Random) -> Evidence | None:
    """Post a withdrawal of more than the user ever had."""
    account = random.choice(evidence.accounts)
    last = account.transactions[-1] if account.transactions else None
    balance = str(Decimal(account.balance) - 10000)
    entry: dict[str, Any] = {
        "uuid": NOBODY_SENT,
        "type": "WITHDRAW",
        "amount": "10000.00",
        "user_id": account.user_id,
        "timestamp": START.isoformat(),
        "outcome": "posted",
        "balance": balance,
        "number": len(account.transactions) + 1,
        "recorded_at": last["recorded_at"] if last else START.isoformat(),
    }
    changed = Account(account.user_id, balance, (*account.transactions, entry))
    return _with_account(evidence, changed)


def answer_otherwise(evidence: Evidence, random: Random) -> Evidence | None:
    """Return another balance in one of two acknowledgements of a uuid."""
    operation = _one(
        random,
        [
            operation
            for operation in evidence.operations
            if operation.status == 200
            and isinstance(operation.call, Post)
            and sum(map(_is_recorded, _attempts(evidence, operation.call.uuid))) > 1
        ],
    )
    if operation is None:
        return None
    body = {**(operation.body or {}), "balance": "12345.67"}
    return _with_operation(evidence, operation, msgspec.structs.replace(operation, body=body))


def send_nothing(evidence: Evidence, random: Random) -> Evidence | None:
    """Record a transaction that no client sent."""
    uuid = _one(random, [entry["uuid"] for entry in _entries(evidence)])
    if uuid is None:
        return None
    attempts = _attempts(evidence, uuid)
    rest = [operation for operation in evidence.operations if operation not in attempts]
    return replace(evidence, operations=rest)


def replay_all(evidence: Evidence, random: Random) -> Evidence | None:
    """Mark every attempt at a transaction as a replay."""
    uuid = _one(
        random,
        [
            entry["uuid"]
            for entry in _entries(evidence)
            if all(map(_is_recorded, _attempts(evidence, entry["uuid"])))
        ],
    )
    if uuid is None:
        return None
    attempts = _attempts(evidence, uuid)
    operations = [
        msgspec.structs.replace(operation, replayed=True) if operation in attempts else operation
        for operation in evidence.operations
    ]
    return replace(evidence, operations=operations)


def change_amount(evidence: Evidence, random: Random) -> Evidence | None:
    """Change the amount of a recorded transaction."""
    return _change_entry(evidence, random, {"amount": "77.77"})


def change_time(evidence: Evidence, random: Random) -> Evidence | None:
    """Set the recorded time of a transaction before that of its predecessor."""
    return _change_entry(
        evidence, random, {"recorded_at": (START - timedelta(days=1)).isoformat()}, from_number=2
    )


def change_number(evidence: Evidence, random: Random) -> Evidence | None:
    """Leave out a number."""
    return _change_entry(evidence, random, {"number": 1000})


def change_outcome(evidence: Evidence, random: Random) -> Evidence | None:
    """Change the outcome of an acknowledged transaction from posted to refused, or the other way round."""
    choice = _one(random, [*_acknowledgements(evidence)])
    if choice is None:
        return None
    _, entry, account = choice
    outcome = "insufficient_funds" if entry["outcome"] == "posted" else "posted"
    return _with_entry(evidence, account, {**entry, "outcome": outcome})


def change_balance(evidence: Evidence, random: Random) -> Evidence | None:
    """Change a final balance, so that it isn't the sum of the transactions."""
    account = random.choice(evidence.accounts)
    balance = str(Decimal(account.balance) + 1)
    return _with_account(evidence, Account(account.user_id, balance, account.transactions))


def drop_event(evidence: Evidence, random: Random) -> Evidence | None:
    """Remove all deliveries of an event to one consumer."""
    consumer, id_ = _event(evidence, random)
    deliveries = [
        one for one in evidence.deliveries if (one.consumer, one.event["id"]) != (consumer, id_)
    ]
    return replace(evidence, deliveries=deliveries)


def delay_event(evidence: Evidence, random: Random) -> Evidence | None:
    """Deliver an event to one consumer after a later one."""
    choices = [
        delivery
        for delivery in evidence.deliveries
        if any(
            other.consumer == delivery.consumer
            and other.event["subject"] == delivery.event["subject"]
            and other.event["data"]["number"] > delivery.event["data"]["number"]
            for other in evidence.deliveries
        )
    ]
    delivery = _one(random, choices)
    if delivery is None:
        return None
    rest = [one for one in evidence.deliveries if one != delivery]
    return replace(evidence, deliveries=[*rest, delivery])


def alter_event(evidence: Evidence, random: Random) -> Evidence | None:
    """Change the balance in all deliveries of an event to one consumer."""
    consumer, id_ = _event(evidence, random)
    deliveries = [
        _alter_balance(one) if (one.consumer, one.event["id"]) == (consumer, id_) else one
        for one in evidence.deliveries
    ]
    return replace(evidence, deliveries=deliveries)


def alter_repetition(evidence: Evidence, random: Random) -> Evidence | None:
    """Repeat an event with other content."""
    again = _alter_balance(random.choice(evidence.deliveries))
    return replace(evidence, deliveries=[*evidence.deliveries, again])


def invent_event(evidence: Evidence, random: Random) -> Evidence | None:
    """Deliver an event of a transaction that doesn't exist."""
    delivery = _one(
        random, [one for one in evidence.deliveries if one.event["type"] != "saldo.user.created"]
    )
    if delivery is None:
        return None
    data = {**delivery.event["data"], "uuid": NOBODY_SENT}
    event = {**delivery.event, "id": NOBODY_SENT, "data": data}
    return replace(evidence, deliveries=[*evidence.deliveries, Delivery(delivery.consumer, event)])


CORRUPTIONS: dict[Corruption, FindingKind] = {
    lose_the_last: FindingKind.LOST,
    double: FindingKind.DOUBLED,
    swap_times: FindingKind.NOT_LINEARIZABLE,
    send_too_late: FindingKind.NOT_LINEARIZABLE,
    read_stale: FindingKind.NOT_LINEARIZABLE,
    read_stale_at_date: FindingKind.NOT_LINEARIZABLE,
    list_stale: FindingKind.NOT_LINEARIZABLE,
    forget: FindingKind.NOT_LINEARIZABLE,
    refuse_again: FindingKind.NOT_LINEARIZABLE,
    foresee: FindingKind.NOT_LINEARIZABLE,
    read_negative: FindingKind.NEGATIVE_BALANCE,
    overdraw: FindingKind.NEGATIVE_BALANCE,
    answer_otherwise: FindingKind.ANSWERS_DIFFER,
    send_nothing: FindingKind.TRANSACTION_OF_NOTHING,
    replay_all: FindingKind.TRANSACTION_OF_NOTHING,
    change_amount: FindingKind.CHANGED_TRANSACTION,
    change_time: FindingKind.RECORDED_EARLIER,
    change_number: FindingKind.GAP_IN_NUMBERS,
    change_outcome: FindingKind.CHANGED_OUTCOME,
    change_balance: FindingKind.WRONG_BALANCE,
    drop_event: FindingKind.EVENT_MISSING,
    delay_event: FindingKind.EVENT_OUT_OF_ORDER,
    alter_event: FindingKind.EVENT_DIFFERS,
    alter_repetition: FindingKind.EVENT_REPEATED_DIFFERENTLY,
    invent_event: FindingKind.EVENT_OF_NOTHING,
}
"""Corruptions, each with the fault that must be found; further faults may follow from it."""


def _one(random: Random, choices: Sequence[T]) -> T | None:
    return random.choice(choices) if choices else None


def _is_recorded(operation: Operation) -> bool:
    body = operation.body or {}
    return operation.status in {200, 402} or body.get("code") == "balance_above_maximum"


def _end(operation: Operation) -> float:
    assert operation.answered is not None
    return operation.answered


def _attempts(evidence: Evidence, uuid: str) -> list[Operation]:
    return [
        operation
        for operation in evidence.operations
        if isinstance(operation.call, Post) and operation.call.uuid == uuid
    ]


def _is_acknowledged(evidence: Evidence, uuid: str) -> bool:
    return any(map(_is_recorded, _attempts(evidence, uuid)))


def _acknowledgements(
    evidence: Evidence,
) -> Iterator[tuple[Operation, Mapping[str, Any], Account]]:
    for account in evidence.accounts:
        for entry in account.transactions:
            for operation in _attempts(evidence, entry["uuid"]):
                if _is_recorded(operation):
                    yield operation, entry, account


def _entries(evidence: Evidence) -> list[Mapping[str, Any]]:
    return [entry for account in evidence.accounts for entry in account.transactions]


def _change(entry: Mapping[str, Any]) -> Decimal:
    if entry["outcome"] != "posted":
        return Decimal(0)
    return Decimal(entry["amount"]) * (1 if entry["type"] == "DEPOSIT" else -1)


def _balance(entries: Sequence[Mapping[str, Any]], date: str | None) -> Decimal:
    # The simulation writes all times alike, so that strings compare as times do.
    return sum(
        (_change(entry) for entry in entries if date is None or entry["timestamp"] <= date),
        Decimal("0.00"),
    )


def _with_account(evidence: Evidence, account: Account) -> Evidence:
    accounts = [account if one.user_id == account.user_id else one for one in evidence.accounts]
    return replace(evidence, accounts=accounts)


def _with_operation(evidence: Evidence, before: Operation, after: Operation) -> Evidence:
    operations = [after if one == before else one for one in evidence.operations]
    return replace(evidence, operations=operations)


def _and_then(
    evidence: Evidence, operation: Operation, call: Any, status: int, body: Mapping[str, Any]
) -> Evidence:
    """Add an operation that begins just after another one was answered."""
    end = _end(operation)
    after = Operation(99, end + 0.000001, end + 0.000002, call, status, body)
    return replace(evidence, operations=[*evidence.operations, after])


def _change_entry(
    evidence: Evidence, random: Random, changes: Mapping[str, Any], *, from_number: int = 1
) -> Evidence | None:
    choice = _one(
        random,
        [
            (account, entry)
            for account in evidence.accounts
            for entry in account.transactions
            if entry["number"] >= from_number
        ],
    )
    if choice is None:
        return None
    account, entry = choice
    return _with_entry(evidence, account, {**entry, **changes})


def _with_entry(evidence: Evidence, account: Account, entry: Mapping[str, Any]) -> Evidence:
    entries = tuple(entry if one["uuid"] == entry["uuid"] else one for one in account.transactions)
    return _with_account(evidence, Account(account.user_id, account.balance, entries))


def _event(evidence: Evidence, random: Random) -> tuple[str, str]:
    delivery = random.choice(evidence.deliveries)
    return delivery.consumer, delivery.event["id"]


def _alter_balance(delivery: Delivery) -> Delivery:
    data = {**delivery.event["data"], "balance": "98765.43"}
    return Delivery(delivery.consumer, {**delivery.event, "data": data})
