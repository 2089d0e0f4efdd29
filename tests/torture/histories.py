"""A small valid history made by hand, and ways to change it for a table of faults."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

import msgspec

from torture.history import (
    Account,
    Call,
    Delivery,
    Evidence,
    KindName,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
)

USER = 7
OPENING = "00000000-0000-4000-8000-000000000000"
A, B, C, D, E = (f"{letter * 8}-0000-4000-8000-000000000000" for letter in "abcde")


def transaction(
    number: int,
    kind: KindName,
    amount: str,
    balance: str,
    *,
    uuid: str | None = None,
    user_id: int = 1,
    time: str = "12:00:00",
    outcome: str = "posted",
) -> dict[str, Any]:
    """Return a transaction as the service writes it, recorded in the minute of its number. time: of its timestamp."""
    return {
        "uuid": uuid or f"{number:08}-0000-4000-8000-000000000000",
        "type": kind,
        "amount": amount,
        "user_id": user_id,
        "timestamp": f"2023-10-30T{time}+00:00",
        "outcome": outcome,
        "balance": balance,
        "number": number,
        "recorded_at": f"2023-10-30T14:{number:02}:00.000001+00:00",
    }


@dataclass
class History:
    """A history that can be changed. log: the final read; events: those of the one consumer."""

    log: list[dict[str, Any]] = field(default_factory=list)
    balance: str = "0.00"
    operations: list[Operation] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    consumers: tuple[str, ...] = ("queue",)

    def evidence(self) -> Evidence:
        return Evidence(
            self.operations,
            [Account(USER, self.balance, tuple(self.log))],
            [Delivery("queue", event) for event in self.events],
            self.consumers,
        )

    def record(self, entry: dict[str, Any]) -> None:
        """Add a transaction to the log, and its event; there is no attempt at it yet."""
        self.log.append(entry)
        self.balance = entry["balance"]
        what = "posted" if entry["outcome"] == "posted" else "refused"
        self.events.append(
            {
                "id": entry["uuid"],
                "type": f"saldo.transaction.{what}",
                "subject": str(USER),
                "time": entry["recorded_at"],
                "data": {**entry, "shard": USER, "seq": entry["number"]},
            }
        )

    def post(
        self,
        invoked: float,
        answered: float | None,
        entry: dict[str, Any],
        *,
        replayed: bool = False,
        **changes: Any,
    ) -> None:
        """Add an attempt at a transaction with its answer. changes: replaced fields of the answer."""
        call = Post(entry["uuid"], USER, entry["type"], entry["amount"], entry["timestamp"])
        if answered is None:
            self.operations.append(Operation(0, invoked, None, call))
            return
        body: dict[str, Any] = deepcopy(entry)
        status = 200
        if entry["outcome"] != "posted":
            status = 402 if entry["outcome"] == "insufficient_funds" else 409
            body = {"code": entry["outcome"], "balance": entry["balance"], "transaction": body}
        body |= changes
        self.operations.append(Operation(0, invoked, answered, call, status, body, replayed))

    def ask(self, invoked: float, call: Call, status: int, **body: Any) -> None:
        """Add any call, answered within half a second."""
        self.operations.append(Operation(0, invoked, invoked + 0.5, call, status, body))

    def drop(self, uuid: str) -> None:
        """Remove all attempts at a transaction."""
        self.operations = [
            operation
            for operation in self.operations
            if getattr(operation.call, "uuid", None) != uuid
        ]

    def rewrite(self, uuid: str, **fields: Any) -> None:
        """Replace fields of a transaction in the log, in answers and in events."""
        places = [*self.log, *(event["data"] for event in self.events)]
        for operation in self.operations:
            body: Any = operation.body or {}
            places += [body, body.get("transaction") or {}, *body.get("items", [])]
        for place in places:
            if place.get("uuid") == uuid:
                place.update(fields)
        for event in self.events:
            if event["id"] == uuid and "recorded_at" in fields:
                event["time"] = fields["recorded_at"]

    def answer(self, uuid: str, **changes: Any) -> None:
        """Replace fields of the first attempt at a transaction. changes: fields of `Operation`."""
        index = next(
            index
            for index, operation in enumerate(self.operations)
            if getattr(operation.call, "uuid", None) == uuid
        )
        self.operations[index] = msgspec.structs.replace(self.operations[index], **changes)


def right() -> History:
    """Return a valid history: a deposit, a withdrawal, a refusal, a deposit that was retried, and reads.

    The first attempt at the last deposit has no answer, so that only its retry shows the outcome.
    """
    history = History()
    history.events.append(
        {
            "id": OPENING,
            "type": "saldo.user.created",
            "subject": str(USER),
            "time": "2023-10-30T11:00:00+00:00",
            "data": {
                "id": USER,
                "name": "user-7341",
                "balance": "0.00",
                "number": 0,
                "created_at": "2023-10-30T11:00:00+00:00",
            },
        }
    )
    mine: dict[str, Any] = {"user_id": USER}
    a = transaction(1, "DEPOSIT", "100.00", "100.00", uuid=A, time="12:00:00", **mine)
    b = transaction(2, "WITHDRAW", "30.00", "70.00", uuid=B, time="12:10:00", **mine)
    c = transaction(3, "WITHDRAW", "500.00", "70.00", uuid=C, time="12:20:00", **mine)
    c["outcome"] = "insufficient_funds"
    d = transaction(4, "DEPOSIT", "5.00", "75.00", uuid=D, time="12:30:00", **mine)
    for entry in (a, b, c, d):
        history.record(entry)
    history.post(0, 1, a)
    history.post(2, 3, b)
    history.post(4, 5, c)
    history.post(6, None, d)
    history.post(8, 9, d, replayed=True)
    history.ask(10, ReadBalance(USER), 200, user_id=USER, balance="75.00", date=None)
    date = "2023-10-30T12:05:00+00:00"
    history.ask(11, ReadBalance(USER, date), 200, user_id=USER, balance="100.00", date=date)
    history.ask(12, ReadTransaction(C, USER), 200, **deepcopy(c))
    items = deepcopy([d, c])
    history.ask(13, ListTransactions(USER, 2), 200, items=items, next_cursor="more")
    return history
