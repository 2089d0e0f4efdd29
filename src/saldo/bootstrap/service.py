"""The application with everything behind it; the order of its start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saldo.bootstrap.access import Guard
from saldo.bootstrap.audits import audits_of
from saldo.bootstrap.pools import WEBHOOK_API_CONNECTIONS
from saldo.console.routes import console_pages
from saldo.console.samples import Samples
from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.lane import Announce, Connect
from saldo.engine.placing import Placing
from saldo.http.app import Pages, create_app
from saldo.http.bulk import Bulk
from saldo.http.events import Events
from saldo.http.hot import Front
from saldo.http.questions import Questions
from saldo.http.service import Service
from saldo.http.transactions import Transactions
from saldo.http.wire import Reading
from saldo.ledger.model import Limits
from saldo.observability.vitals import watch
from saldo.relay.bell import Bell
from saldo.relay.events import Encoder
from saldo.relay.live import Hub, LiveLimits
from saldo.settings import Settings
from saldo.store.charts import Charts
from saldo.store.connection import is_distributed, open_pool
from saldo.store.log import Log
from saldo.store.places import Node, places
from saldo.store.poster import Poster
from saldo.store.reader import Reader
from saldo.store.replica import Replica
from saldo.store.seals import Seals
from saldo.store.sessions import SessionLimits, Sessions
from saldo.store.sinks import Sinks
from saldo.store.totals import Totals
from saldo.store.webhooks import Webhooks

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

EVENTS_CONNECTIONS = 3
"""Of the live stream of a process: the tail, the past, and where new subscribers begin."""


def limits_of(settings: Settings) -> Limits:
    """The ledger's limits as the operator set them."""
    return Limits(
        balance_max=settings.balance_max_minor,
        future_tolerance=settings.future_tolerance,
        max_lateness=settings.max_lateness,
        late_check_entries_max=settings.late_check_entries_max,
    )


def reading_of(settings: Settings) -> Reading:
    """How requests are read."""
    return Reading(
        zone=settings.tzinfo,
        decimals=settings.currency_decimals,
        amount_max_minor=settings.amount_max_minor,
        name_length_max=settings.name_length_max,
    )


def connect_of(settings: Settings, database_url: str) -> Connect:
    """How lanes connect."""
    limits = limits_of(settings)

    async def connect(lane: int, node: Node | None) -> Poster:
        return await Poster.open(
            database_url,
            limits,
            lane=lane,
            node=node,
            statement_timeout_seconds=settings.batch_timeout_seconds,
        )

    return connect


def create_engine(
    settings: Settings,
    database_url: str,
    announce: Announce = lambda: None,
    tracing: Tracing | None = None,
    *,
    by_shard: bool = False,
) -> Engine:
    """The engine over lanes that connect to the database when they first need it.

    Args:
        announce, tracing: see `Engine`. by_shard: see `EngineLimits`.
    """
    return Engine(
        connect_of(settings, database_url),
        EngineLimits(
            lanes=settings.lane_count(by_shard=by_shard),
            by_shard=by_shard,
            batch_requests_max=settings.batch_requests_max,
            split_requests_min=settings.split_requests_min,
            queue_requests_max=settings.queue_requests_max,
            queue_wait_seconds_max=settings.queue_wait_seconds_max,
            request_deadline_seconds=settings.request_deadline_seconds,
            batch_timeout_seconds=settings.batch_timeout_seconds,
            slow_seconds=settings.slow_seconds,
        ),
        announce,
        tracing,
    )


@asynccontextmanager
async def running(
    settings: Settings,
    database_url: str,
    bell_path: Path | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[Front]:
    """The application with everything behind it started; stops in the opposite order.

    Args:
        bell_path: where a relay listens for what is new; None: nowhere.
        tracing: gets the spans of batches; those of requests are the caller's to ask for (`Tracing.traced`).
    """
    reading = reading_of(settings)
    bell = None if bell_path is None else Bell(bell_path)
    events_pool = await open_pool(
        database_url,
        connections=EVENTS_CONNECTIONS,
        statement_timeout_seconds=settings.read_timeout_seconds,
        application_name="saldo events",
    )
    hub = _live_hub(settings, events_pool)

    def announce() -> None:
        hub.wake()
        if bell is not None:
            bell.ring()

    engine = create_engine(
        settings,
        database_url,
        announce,
        tracing,
        by_shard=await is_distributed(database_url),
    )
    replica = None
    if settings.database_replica_url is not None:
        replica = await Replica.open(
            settings.database_replica_url,
            connections=settings.read_connections,
            timeout_seconds=settings.read_timeout_seconds,
        )
    reader = await Reader.open(
        database_url,
        connections=settings.read_connections,
        timeout_seconds=settings.read_timeout_seconds,
        entries_read_max=settings.page_entries_read_max,
        replica=replica,
    )
    webhooks = await Webhooks.open(
        database_url,
        connections=WEBHOOK_API_CONNECTIONS,
        timeout_seconds=settings.read_timeout_seconds,
    )
    guard = await Guard.open(settings, database_url)
    engine.start()
    placing = None
    if engine.by_shard and settings.connect_to_workers:
        ask = partial(places, reader.pool)
        looking = Placing(engine, ask, connect_of(settings, database_url))
        placing = asyncio.create_task(looking.run(), name="placing")
    await guard.start()
    pools = {
        "read": reader.pool,
        "events": events_pool,
        "webhooks": webhooks.pool,
        "keys": guard.keys.pool,
    }
    if replica is not None:
        pools["replica"] = replica.pool
    watching = asyncio.create_task(watch(engine, pools), name="vitals")
    samples = Samples()
    sampling = asyncio.create_task(samples.run(), name="samples")
    try:
        service = Service(
            settings,
            reading,
            engine,
            reader,
            Transactions(engine, reading),
            Bulk(engine, reading, settings),
            Events(hub, reading, settings),
            Questions(reader, reading),
            Sinks(reader.pool, lease_seconds=settings.relay_lease_seconds),
            webhooks,
            Totals(reader.pool),
            audits_of(settings, reader.pool),
            Seals(reader.pool),
            guard.gate,
            guard.keyring,
            guard.keys,
        )
        pages = _console(service, samples, replica) if settings.console else None
        yield create_app(service, pages)
    finally:
        watching.cancel()
        sampling.cancel()
        if placing is not None:
            placing.cancel()
        await guard.stop()
        await engine.stop(settings.stop_seconds)
        await hub.close()
        events_pool.terminate()
        await reader.close()
        if replica is not None:
            await replica.close()
        webhooks.terminate()
        if bell is not None:
            bell.close()


def _console(service: Service, samples: Samples, replica: Replica | None) -> Pages:
    settings, pool = service.settings, service.reader.pool
    limits = SessionLimits(
        timedelta(seconds=settings.console_idle_seconds),
        timedelta(seconds=settings.console_session_seconds),
        settings.console_sessions_of_key_max,
    )
    seconds = settings.read_timeout_seconds
    sessions = Sessions(pool, limits, timeout_seconds=seconds)
    charts = Charts(pool, timeout_seconds=seconds, replica=replica)
    return console_pages(service, sessions, charts, samples)


def _live_hub(settings: Settings, pool: Any) -> Hub:
    return Hub(
        Log(pool),
        Encoder(settings.currency_decimals),
        LiveLimits(
            subscribers_max=settings.events_subscribers_max,
            buffer_bytes_max=settings.events_buffer_bytes_max,
            heartbeat_seconds=settings.events_heartbeat_seconds,
            poll_seconds=settings.relay_poll_seconds,
        ),
    )
