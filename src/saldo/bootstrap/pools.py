"""Numbers of database connections per process, and the connection pool that the relays of a process share."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from saldo.engine.engine import ATOMIC_LANES
from saldo.settings.model import Settings
from saldo.store.connections.connection import open_pool

EVENTS_CONNECTIONS = 3
"""Maximum number of connections of a service process for the live stream. They read new events, past events, and the
start positions of new subscribers."""

WEBHOOK_API_CONNECTIONS = 1
"""Maximum number of connections of a service process for requests that manage webhooks. Such requests are rare."""

KEY_CONNECTIONS = 1
"""Maximum number of connections of a service process for reading the API keys."""

RELAY_CONNECTIONS = 6
"""Maximum number of connections of a relay process, without those of webhooks. Three are for the sinks, of which one
reads while others move cursors and renew leases. One each is for the totals, the sealer and the audit."""

WEBHOOK_CONNECTIONS = 4
"""Maximum number of connections of a relay process for all webhooks. They have a pool of their own, so that many
failing endpoints don't delay other sinks."""


def count_service_connections(settings: Settings) -> int:
    """Return the maximum number of connections to the primary that one service process keeps. `SALDO_WORKERS` is the
    number of such processes.

    The pool of a replica (`SALDO_DATABASE_REPLICA_URL`) is on another server and is not counted. On a distributed
    ledger (Citus) a process has more connections: `SALDO_LANES` lanes for each node.
    """
    lanes = settings.count_lanes(by_shard=False) + ATOMIC_LANES
    other_connections = EVENTS_CONNECTIONS + WEBHOOK_API_CONNECTIONS + KEY_CONNECTIONS
    return lanes + settings.read_connections + other_connections


def count_relay_connections() -> int:
    """Return the maximum number of connections of a relay process."""
    return RELAY_CONNECTIONS + WEBHOOK_CONNECTIONS


@asynccontextmanager
async def open_relay_pool(settings: Settings, database_url: str) -> AsyncIterator[Any]:
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
