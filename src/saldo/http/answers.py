"""Answers as they are written: money as strings with the currency's decimals, RFC 3339 times."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from saldo.http.wire import KIND_NAMES
from saldo.ledger.model import Kind, Outcome
from saldo.ledger.money import format_money
from saldo.ledger.time import format_instant

OUTCOME_NAMES = {outcome: outcome.name.lower() for outcome in Outcome}


@dataclass(frozen=True, slots=True)
class Answer:
    """A whole HTTP answer."""

    status: int
    body: bytes
    media_type: str = "application/json"
    headers: tuple[tuple[str, str], ...] = ()


def transaction_fields(
    uuid: UUID,
    user_id: int,
    number: int,
    amount: int,
    balance: int,
    timestamp: datetime | None,
    recorded_at: datetime | None,
    outcome: Outcome,
    decimals: int,
) -> dict[str, Any]:
    """A transaction as every route writes it. amount is signed minor units."""
    return {
        "uuid": str(uuid),
        "type": KIND_NAMES[Kind.DEPOSIT if amount > 0 else Kind.WITHDRAWAL],
        "amount": format_money(abs(amount), decimals),
        "user_id": user_id,
        "timestamp": timestamp and format_instant(timestamp),
        "outcome": OUTCOME_NAMES[outcome],
        "balance": format_money(balance, decimals),
        "number": number,
        "recorded_at": recorded_at and format_instant(recorded_at),
    }
