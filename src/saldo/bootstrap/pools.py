"""How many connections a process keeps, and the pool that all its relays share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saldo.settings import Settings
from saldo.store.connection import open_pool

RELAY_CONNECTIONS = 6
"""Of all relays of a process: one reads while others move cursors and renew leases; one counts, one seals, one
audits."""

WEBHOOK_API_CONNECTIONS = 1
"""Of a service process, for requests about webhooks, which are few."""


@asynccontextmanager
async def relay_pool(settings: Settings, database_url: str) -> AsyncIterator[Any]:
    pool = await open_pool(
        database_url,
        connections=RELAY_CONNECTIONS,
        statement_timeout_seconds=settings.batch_timeout_seconds,
        application_name="saldo relay",
    )
    try:
        yield pool
    finally:
        pool.terminate()
