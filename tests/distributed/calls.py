"""Calls to a distributed ledger, made as the service makes them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from uuid import UUID, uuid4

from saldo.ledger.model import Decision, LedgerLimits, TransactionRequest
from saldo.store.poster import Poster
from saldo.store.reader import Reader

LIMITS = LedgerLimits()


@dataclass
class StoreClient:
    """The writing and the reading side of the store."""

    poster: Poster
    reader: Reader

    async def user(self) -> int:
        return (await self.reader.create_user(f"user {uuid4()}")).id

    async def post(self, user_id: int, *amounts: int) -> Sequence[Decision]:
        decisions = await self.poster.post(
            [TransactionRequest(uuid4(), user_id, amount, None) for amount in amounts]
        )
        return [decision for decision in decisions if decision is not None]


@asynccontextmanager
async def connect_store(url: str) -> AsyncIterator[StoreClient]:
    """Yield both sides, connected as the service's role."""
    poster = await Poster.open(url, LIMITS, lane=0, statement_timeout_seconds=30)
    reader = await Reader.open(url, connections=2, timeout_seconds=30, entries_read_max=10_000)
    try:
        yield StoreClient(poster, reader)
    finally:
        await poster.close()
        await reader.close()


def request(user_id: int, amount: int = 1, uuid: UUID | None = None) -> TransactionRequest:
    return TransactionRequest(uuid or uuid4(), user_id, amount, None)
