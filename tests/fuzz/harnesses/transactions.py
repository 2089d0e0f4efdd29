"""Transactions: the fast parser and the full one agree, and the result is within all limits."""

from __future__ import annotations

import json
from datetime import UTC

from saldo.ledger.instants import format_instant
from saldo.ledger.model import USER_ID_MAX, TransactionRequest
from saldo.ledger.money import AMOUNT_MAX, format_money
from saldo.parsing import transactions
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import (
    ParserOptions,
    parse_fast_path,
    parse_transaction,
    parse_transactions,
)

READING = ParserOptions(zone=UTC, decimals=2, amount_max_minor=AMOUNT_MAX, name_length_max=200)


def check(data: bytes) -> None:
    """Check that a body is a transaction or has faults, each with a field and a message."""
    quick = parse_fast_path(data, READING)
    full = _read_fully(data)
    assert quick is None or quick == full
    try:
        request = parse_transaction(data, None, READING)
    except InvalidRequestError as error:
        assert full is None
        assert error.faults
        assert all(fault.message and len(fault.field) <= 100 for fault in error.faults)
        return
    assert request == full
    _check_bounds(request)
    assert parse_fast_path(_plain(request), READING) == request
    # The same body in an array gives the same transaction.
    assert parse_transactions(b"[" + data + b"]", 1, READING) == [request]


def _read_fully(data: bytes) -> TransactionRequest | None:
    """Parse a body without the fast parser."""
    try:
        return transactions._parse_transaction_fields(
            transactions.parse_object(data), None, READING
        )
    except InvalidRequestError:
        return None


def _check_bounds(request: TransactionRequest) -> None:
    assert request.uuid.int != 0
    assert 1 <= request.user_id <= USER_ID_MAX
    assert 0 < abs(request.amount) <= AMOUNT_MAX


def _plain(request: TransactionRequest) -> bytes:
    fields = {
        "uuid": str(request.uuid),
        "type": "DEPOSIT" if request.amount > 0 else "WITHDRAW",
        "amount": format_money(abs(request.amount), 2),
        "user_id": request.user_id,
    }
    if request.timestamp is not None:
        fields["timestamp"] = format_instant(request.timestamp)
    return json.dumps(fields).encode()
