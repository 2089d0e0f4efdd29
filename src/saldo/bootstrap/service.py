"""The application with all its parts, and the order of their start and stop."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, closing
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from saldo.bootstrap.audit import create_audit_store
from saldo.bootstrap.auth import AuthStack
from saldo.bootstrap.pools import EVENTS_CONNECTIONS, WEBHOOK_API_CONNECTIONS
from saldo.console.metrics_history import MetricsHistory
from saldo.console.routes import console_pages
from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.lane import Connect, NotifyPosted
from saldo.engine.shard_routing import ShardPlacementWatcher
from saldo.events.event import EventEncoder
from saldo.events.live.hub import Hub, LiveLimits
from saldo.http.api.bulk import Bulk
from saldo.http.api.context import AppContext
from saldo.http.api.event_stream import LiveStream
from saldo.http.api.fast_reads import FastReads
from saldo.http.api.post_transaction import Transactions
from saldo.http.asgi import AsgiApp
from saldo.http.litestar_app import ExtraRoutes, create_app
from saldo.ledger.model import Limits
from saldo.lifecycle.tasks import running_task
from saldo.observability.runtime_metrics import sample_runtime
from saldo.parsing.transactions import ParserOptions
from saldo.relay.wakeup import WakeupSender
from saldo.settings.model import Settings
from saldo.store.charts import Charts
from saldo.store.citus.placement import Node, read_shard_nodes
from saldo.store.connections.connection import is_distributed, open_pool
from saldo.store.connections.replica import Replica
from saldo.store.console_sessions import ConsoleSessions, SessionLimits
from saldo.store.log import Log
from saldo.store.poster import Poster
from saldo.store.reader import Reader
from saldo.store.seals import SealStore
from saldo.store.sinks import Sinks
from saldo.store.totals import Totals
from saldo.store.webhooks import Webhooks

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

STATEMENT_SHARE = 0.9
"""Share of a batch's timeout after which the server cancels the statement. The lane then learns that nothing was
recorded, and bisects the batch."""


def limits_of(settings: Settings) -> Limits:
    """Return the ledger's limits from the settings."""
    return Limits(
        balance_max=settings.balance_max_minor,
        future_tolerance=settings.future_tolerance,
        max_lateness=settings.max_lateness,
        late_check_entries_max=settings.late_check_entries_max,
        late_batch_entries_max=settings.late_batch_entries_max,
    )


def reading_of(settings: Settings) -> ParserOptions:
    """Return the options of the parsers of requests."""
    return ParserOptions(
        zone=settings.tzinfo,
        decimals=settings.currency_decimals,
        amount_max_minor=settings.amount_max_minor,
        name_length_max=settings.name_length_max,
    )


def lane_connector(settings: Settings, database_url: str) -> Connect:
    """Return the function that connects lanes."""
    limits = limits_of(settings)

    async def connect(lane: int, node: Node | None) -> Poster:
        return await Poster.open(
            database_url,
            limits,
            lane=lane,
            node=node,
            statement_timeout_seconds=settings.batch_timeout_seconds * STATEMENT_SHARE,
        )

    return connect


def create_engine(
    settings: Settings,
    database_url: str,
    notify_posted: NotifyPosted = lambda: None,
    tracing: Tracing | None = None,
    *,
    by_shard: bool = False,
) -> Engine:
    """Create the engine. Its lanes connect to the database when they have the first batch.

    Args:
        notify_posted, tracing: see `Engine`.
        by_shard: see `EngineLimits`.
    """
    return Engine(
        lane_connector(settings, database_url),
        EngineLimits(
            lanes=settings.lane_count(by_shard=by_shard),
            by_shard=by_shard,
            batch_requests_max=settings.batch_requests_max,
            parallel_lanes_requests_min=settings.parallel_lanes_requests_min,
            queue_requests_max=settings.queue_requests_max,
            queue_wait_seconds_max=settings.queue_wait_seconds_max,
            request_deadline_seconds=settings.request_deadline_seconds,
            batch_timeout_seconds=settings.batch_timeout_seconds,
            slow_log_seconds=settings.slow_log_seconds,
        ),
        notify_posted,
        tracing,
    )


@asynccontextmanager
async def run_service(
    settings: Settings,
    database_url: str,
    bell_path: Path | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[AsgiApp]:
    """Start the application with all its parts, yield it, and stop the parts in the opposite order.

    A start that fails closes what it has opened.

    Args:
        bell_path: The wakeup socket of the relay; None means that no relay is woken.
        tracing: Receives the spans of batches. The caller adds the spans of requests (`Tracing.wrap`).
    """
    async with AsyncExitStack() as stack:
        yield await _start(stack, settings, database_url, bell_path, tracing)


async def _start(
    stack: AsyncExitStack,
    settings: Settings,
    database_url: str,
    bell_path: Path | None,
    tracing: Tracing | None,
) -> AsgiApp:
    """Start everything, and push its stop to the stack.

    The engine starts after the pools that requests in flight need, so that it stops before them.
    """
    reading = reading_of(settings)
    bell = None if bell_path is None else stack.enter_context(closing(WakeupSender(bell_path)))
    reader, replica = await _open_reader(stack, settings, database_url)
    webhooks = await Webhooks.open(
        database_url,
        connections=WEBHOOK_API_CONNECTIONS,
        timeout_seconds=settings.read_timeout_seconds,
    )
    stack.callback(webhooks.terminate)
    hub, events_pool = await _open_hub(stack, settings, database_url)

    def notify_posted() -> None:
        hub.wake()
        if bell is not None:
            bell.wake()

    engine = create_engine(
        settings,
        database_url,
        notify_posted,
        tracing,
        by_shard=await is_distributed(database_url),
    )
    guard = await AuthStack.open(settings, database_url)
    stack.push_async_callback(guard.stop)
    engine.start()
    stack.push_async_callback(engine.stop, settings.shutdown_timeout_seconds)
    if engine.by_shard and settings.connect_to_workers:
        ask = partial(read_shard_nodes, reader.pool)
        placing = ShardPlacementWatcher(engine, ask, lane_connector(settings, database_url))
        await stack.enter_async_context(running_task(placing.run(), name="shard routing"))
    await guard.start()
    pools = {
        "read": reader.pool,
        "events": events_pool,
        "webhooks": webhooks.pool,
        "keys": guard.keys.pool,
    }
    if replica is not None:
        pools["replica"] = replica.pool
    await stack.enter_async_context(
        running_task(sample_runtime(engine, pools), name="runtime metrics")
    )
    samples = MetricsHistory()
    await stack.enter_async_context(running_task(samples.run(), name="console metrics"))
    service = AppContext(
        settings,
        reading,
        engine,
        reader,
        Transactions(engine, reading),
        Bulk(engine, reading, settings),
        LiveStream(hub, reading, settings),
        FastReads(reader, reading),
        Sinks(reader.pool, lease_seconds=settings.relay_lease_seconds),
        webhooks,
        Totals(reader.pool),
        create_audit_store(settings, reader.pool),
        SealStore(reader.pool),
        guard.gate,
        guard.keyring,
        guard.keys,
    )
    return create_app(
        service, _console(service, samples, replica) if settings.console_enabled else None
    )


async def _open_reader(
    stack: AsyncExitStack, settings: Settings, database_url: str
) -> tuple[Reader, Replica | None]:
    replica = None
    if settings.database_replica_url is not None:
        replica = await Replica.open(
            settings.database_replica_url,
            connections=settings.read_connections,
            timeout_seconds=settings.read_timeout_seconds,
        )
        stack.push_async_callback(replica.close)
    reader = await Reader.open(
        database_url,
        connections=settings.read_connections,
        timeout_seconds=settings.read_timeout_seconds,
        entries_read_max=settings.page_scan_entries_max,
        replica=replica,
    )
    stack.push_async_callback(reader.close)
    return reader, replica


async def _open_hub(
    stack: AsyncExitStack, settings: Settings, database_url: str
) -> tuple[Hub, Any]:
    pool = await open_pool(
        database_url,
        connections=EVENTS_CONNECTIONS,
        statement_timeout_seconds=settings.read_timeout_seconds,
        application_name="saldo events",
    )
    stack.callback(pool.terminate)
    hub = Hub(
        Log(pool),
        EventEncoder(settings.currency_decimals),
        LiveLimits(
            subscribers_max=settings.events_subscribers_max,
            buffer_bytes_max=settings.events_buffer_bytes_max,
            heartbeat_seconds=settings.events_heartbeat_seconds,
            poll_seconds=settings.relay_poll_seconds,
        ),
    )
    stack.push_async_callback(hub.close)
    return hub, pool


def _console(service: AppContext, samples: MetricsHistory, replica: Replica | None) -> ExtraRoutes:
    settings, pool = service.settings, service.reader.pool
    limits = SessionLimits(
        timedelta(seconds=settings.console_idle_seconds),
        timedelta(seconds=settings.console_session_seconds),
        settings.console_sessions_of_key_max,
    )
    seconds = settings.read_timeout_seconds
    sessions = ConsoleSessions(pool, limits, timeout_seconds=seconds)
    charts = Charts(pool, timeout_seconds=seconds, replica=replica)
    return console_pages(service, sessions, charts, samples)
