"""Transactions: the quick reader and the full one agree, and what comes out is within every bound."""

from __future__ import annotations

import json
from datetime import UTC

from saldo.http import wire
from saldo.http.wire import InvalidError, Reading, parse_transaction, parse_transactions, read_plain
from saldo.ledger.model import USER_ID_MAX, TransactionRequest
from saldo.ledger.money import AMOUNT_MAX, format_money
from saldo.ledger.time import format_instant

READING = Reading(zone=UTC, decimals=2, amount_max_minor=AMOUNT_MAX, name_length_max=200)


def check(data: bytes) -> None:
    """A body is a transaction, or has faults, each with a field and a message."""
    quick = read_plain(data, READING)
    full = _read_fully(data)
    assert quick is None or quick == full
    try:
        request = parse_transaction(data, None, READING)
    except InvalidError as error:
        assert full is None
        assert error.faults
        assert all(fault.message and len(fault.field) <= 100 for fault in error.faults)
        return
    assert request == full
    _check_bounds(request)
    assert read_plain(_plain(request), READING) == request
    # Of one among many the same is read.
    assert parse_transactions(b"[" + data + b"]", 1, READING) == [request]


def _read_fully(data: bytes) -> TransactionRequest | None:
    """Without the quick reader before it."""
    try:
        return wire._read_transaction(wire.parse_object(data), None, READING)
    except InvalidError:
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
