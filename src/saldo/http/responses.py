"""Parts of responses. Amounts are strings with the currency's decimals, and times are in RFC 3339."""

from __future__ import annotations

from datetime import datetime
from typing import NamedTuple, TypeAlias, cast
from uuid import UUID

from saldo.http.schemas import ledger
from saldo.ledger.instants import format_instant
from saldo.ledger.model import Decision, Outcome
from saldo.ledger.money import format_money
from saldo.observability.metrics import OUTCOMES

OUTCOME_NAMES = {outcome: outcome.name.lower() for outcome in Outcome}
_counters = {
    (outcome, replayed): OUTCOMES.labels(OUTCOME_NAMES[outcome], str(replayed).lower())
    for outcome in Outcome
    for replayed in (False, True)
}
RECORDED_NAMES = cast(dict[Outcome, ledger.OutcomeName], OUTCOME_NAMES)


class RawResponse(NamedTuple):
    """A complete HTTP response."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def count_outcome(outcome: Outcome, replayed: bool, count: int = 1) -> None:
    """Count transactions that were answered with an outcome."""
    _counters[outcome, replayed].inc(count)


_Recorded: TypeAlias = tuple[int, int, int, int, datetime, datetime]


def build_decided_transaction(uuid: UUID, decision: Decision, decimals: int) -> ledger.Transaction:
    """Return the transaction that is recorded under the uuid. The decision or an earlier one recorded it."""
    outcome, _, *recorded = decision
    user_id, number, amount, balance, timestamp, recorded_at = cast(_Recorded, recorded)
    return build_transaction(
        uuid, user_id, number, amount, balance, timestamp, recorded_at, outcome, decimals
    )


def build_transaction(
    uuid: UUID,
    user_id: int,
    number: int,
    amount: int,
    balance: int,
    timestamp: datetime,
    recorded_at: datetime,
    outcome: Outcome,
    decimals: int,
) -> ledger.Transaction:
    """Return a transaction in the form that all routes use.

    Args:
        amount: In minor units, negative for a withdrawal.
        balance: In minor units.
    """
    recorded_text = format_instant(recorded_at)
    return ledger.Transaction(
        uuid,
        "DEPOSIT" if amount > 0 else "WITHDRAW",
        format_money(abs(amount), decimals),
        user_id,
        recorded_text if timestamp == recorded_at else format_instant(timestamp),
        RECORDED_NAMES[outcome],
        format_money(balance, decimals),
        number,
        recorded_text,
    )


def format_optional_instant(instant: datetime | None) -> str | None:
    """Format an instant as all routes do. None stays None."""
    return None if instant is None else format_instant(instant)
