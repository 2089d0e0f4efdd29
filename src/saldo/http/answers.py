"""Answers as they are written: money as strings with the currency's decimals, RFC 3339 times."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, TypeAlias, cast
from uuid import UUID

from saldo.http import schemas
from saldo.ledger.model import Decision, Outcome
from saldo.ledger.money import format_money
from saldo.ledger.time import format_instant
from saldo.observability.metrics import OUTCOMES

OUTCOME_NAMES = {outcome: outcome.name.lower() for outcome in Outcome}
_counters = {
    (outcome, replayed): OUTCOMES.labels(OUTCOME_NAMES[outcome], str(replayed).lower())
    for outcome in Outcome
    for replayed in (False, True)
}
RECORDED_NAMES = cast(dict[Outcome, schemas.OutcomeName], OUTCOME_NAMES)


class Answer(NamedTuple):
    """A whole HTTP answer."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def count_outcome(outcome: Outcome, replayed: bool, count: int = 1) -> None:
    """Counts transactions answered with an outcome."""
    _counters[outcome, replayed].inc(count)


_Recorded: TypeAlias = tuple[int, int, int, int, datetime, datetime]


def decided_answer(uuid: UUID, decision: Decision, decimals: int) -> schemas.Transaction:
    """The transaction that a decision has recorded, or found recorded, under the uuid."""
    outcome, _, *recorded = decision
    user_id, number, amount, balance, timestamp, recorded_at = cast(_Recorded, recorded)
    return transaction_answer(
        uuid, user_id, number, amount, balance, timestamp, recorded_at, outcome, decimals
    )


def transaction_answer(
    uuid: UUID,
    user_id: int,
    number: int,
    amount: int,
    balance: int,
    timestamp: datetime,
    recorded_at: datetime,
    outcome: Outcome,
    decimals: int,
) -> schemas.Transaction:
    """A transaction as every route writes it. amount is signed; both are minor units."""
    written = format_instant(recorded_at)
    return schemas.Transaction(
        uuid,
        "DEPOSIT" if amount > 0 else "WITHDRAW",
        format_money(abs(amount), decimals),
        user_id,
        written if timestamp == recorded_at else format_instant(timestamp),
        RECORDED_NAMES[outcome],
        format_money(balance, decimals),
        number,
        written,
    )
