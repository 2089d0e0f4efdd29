"""The writing side on a connection that fails: its result for a batch of which a part is recorded."""

from __future__ import annotations

import re
from datetime import timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import asyncpg
import pytest

import saldo
from saldo.ledger.model import LedgerLimits, TransactionRequest
from saldo.store.errors import (
    ConnectionLostError,
    OutcomeUncertainError,
    RejectedError,
    StoreError,
    TemporarilyUnavailableError,
    UuidRaceError,
)
from saldo.store.poster import Poster


class Distributed:
    """A connection to a distributed ledger: the first calls are answered, then one fails."""

    distributed = True
    backend = None

    def __init__(self, answered: int, sqlstate: str) -> None:
        self.answered = answered
        self.sqlstate = sqlstate

    async def fetchrow(self, statement: str, *arguments: Any) -> list[Any]:
        if not self.answered:
            raise asyncpg.PostgresError.new({"C": self.sqlstate, "M": "no"})
        self.answered -= 1
        count = len(arguments[1])
        nothing = [None] * count
        return [[0] * count, [False] * count, nothing, [1] * count, *[nothing] * 4, timedelta(), 0]


@pytest.mark.parametrize(
    ("sqlstate", "kind"),
    [
        ("23505", UuidRaceError),
        ("53100", TemporarilyUnavailableError),
        ("XX001", RejectedError),
        ("57P01", ConnectionLostError),
    ],
)
async def test_batch_that_fails_after_its_first_shard(
    sqlstate: str, kind: type[StoreError]
) -> None:
    requests = [TransactionRequest(uuid4(), user_id, 100, None) for user_id in (1, 2)]
    with pytest.raises(StoreError) as first:
        await Poster(Distributed(0, sqlstate), LedgerLimits()).post(requests)
    assert type(first.value) is kind
    with pytest.raises(StoreError) as second:
        await Poster(Distributed(1, sqlstate), LedgerLimits()).post(requests)
    lost = kind is ConnectionLostError
    assert type(second.value) is (ConnectionLostError if lost else OutcomeUncertainError)
    assert len(await Poster(Distributed(2, sqlstate), LedgerLimits()).post(requests)) == 2


def test_no_driver_connection_sends_cancel_requests() -> None:
    """Search for other connections: a cancel request ends a commit's wait for the standby.

    See `saldo.store.connections.connection.DatabaseConnection`.
    """
    root = Path(saldo.__file__).parent
    makers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"asyncpg\.(connect|create_pool|Connection|Pool)\b", path.read_text("utf-8"))
    }
    assert makers == {"store/connections/connection.py"}
    text = (root / "store/connections/connection.py").read_text("utf-8")
    opened = re.findall(
        r"(?:await _open\(url|create_pool\().*?connection_class=DatabaseConnection", text, re.DOTALL
    )
    assert len(opened) == len(re.findall(r"await _open\(url|create_pool\(", text))
