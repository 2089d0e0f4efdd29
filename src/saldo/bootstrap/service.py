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
from saldo.console.routes import create_console_routes
from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.lane import Connect, NotifyPosted
from saldo.engine.shard_routing import ShardPlacementWatcher
from saldo.events.event import EventEncoder
from saldo.events.live.hub import Hub, LiveLimits
from saldo.http.api.bulk import BulkHandler
from saldo.http.api.context import AppContext
from saldo.http.api.event_stream import EventStreamHandler
from saldo.http.api.fast_reads import FastReadHandler
from saldo.http.api.post_transaction import PostTransactionHandler
from saldo.http.asgi import AsgiApp
from saldo.http.litestar_app import ConsoleRoutes, create_app
from saldo.ledger.model import LedgerLimits
from saldo.lifecycle.tasks import run_task
from saldo.observability.runtime_metrics import sample_runtime
from saldo.parsing.transactions import ParserOptions
from saldo.relay.wakeup import WakeupSender
from saldo.settings.model import Settings
from saldo.store.charts import Charts
from saldo.store.citus.placement import Node, read_shard_nodes
from saldo.store.connections.connection import count_waiters, is_distributed, open_pool
from saldo.store.connections.replica import Replica
from saldo.store.console_sessions import ConsoleSessions, SessionLimits
from saldo.store.heads import HeadStore
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
"""Fraction of a batch's timeout after which PostgreSQL cancels the statement. The lane then knows that nothing was
recorded, and bisects the batch."""


def create_ledger_limits(settings: Settings) -> LedgerLimits:
    """Return the ledger's limits from the settings."""
    return LedgerLimits(
        balance_max=settings.balance_max_minor,
        future_tolerance=settings.future_tolerance,
        max_lateness=settings.max_lateness,
        late_check_entries_max=settings.late_check_entries_max,
        late_batch_entries_max=settings.late_batch_entries_max,
    )


def create_parser_options(settings: Settings) -> ParserOptions:
    """Return the options of the parsers of requests."""
    return ParserOptions(
        zone=settings.tzinfo,
        decimals=settings.currency_decimals,
        amount_max_minor=settings.amount_max_minor,
        name_length_max=settings.name_length_max,
    )


def create_lane_connector(settings: Settings, database_url: str) -> Connect:
    """Return the function that opens the database connection of a lane."""
    limits = create_ledger_limits(settings)

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
    """Create the engine. Each lane connects to the database when it has its first batch.

    Args:
        notify_posted, tracing: see `Engine`.
        by_shard: see `EngineLimits`.
    """
    return Engine(
        create_lane_connector(settings, database_url),
        EngineLimits(
            lanes=settings.count_lanes(by_shard=by_shard),
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
    wakeup_path: Path | None = None,
    tracing: Tracing | None = None,
) -> AsyncIterator[AsgiApp]:
    """Start the application with all its parts, yield it, and stop the parts in the opposite order.

    If the start fails, the parts that have been started are stopped.

    Args:
        wakeup_path: The wakeup socket of the relay; None means that no relay is woken.
        tracing: Receives the spans of batches. The caller adds the spans of requests (`Tracing.wrap_application`).
    """
    async with AsyncExitStack() as stack:
        yield await _start(stack, settings, database_url, wakeup_path, tracing)


async def _start(
    stack: AsyncExitStack,
    settings: Settings,
    database_url: str,
    wakeup_path: Path | None,
    tracing: Tracing | None,
) -> AsgiApp:
    """Start all parts, and push the stop of each to the stack.

    The stack stops the parts in reverse order. The engine is started after the pools that requests in flight need, so
    that the engine stops before the pools close.
    """
    parser_options = create_parser_options(settings)
    bell = None if wakeup_path is None else stack.enter_context(closing(WakeupSender(wakeup_path)))
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
    auth = await AuthStack.open(settings, database_url)
    stack.push_async_callback(auth.stop)
    engine.start()
    stack.push_async_callback(engine.stop, settings.shutdown_timeout_seconds)
    if engine.by_shard and settings.connect_to_workers:
        read_nodes = partial(read_shard_nodes, reader.pool)
        placement_watcher = ShardPlacementWatcher(
            engine, read_nodes, create_lane_connector(settings, database_url)
        )
        await stack.enter_async_context(run_task(placement_watcher.run(), name="shard routing"))
    await auth.start()
    pools = {
        "read": reader.pool,
        "events": events_pool,
        "webhooks": webhooks.pool,
        "keys": auth.keys.pool,
    }
    if replica is not None:
        pools["replica"] = replica.pool
    await stack.enter_async_context(
        run_task(sample_runtime(engine, pools, count_waiters), name="runtime metrics")
    )
    samples = MetricsHistory()
    await stack.enter_async_context(run_task(samples.run(), name="console metrics"))
    service = AppContext(
        settings,
        parser_options,
        engine,
        reader,
        PostTransactionHandler(engine, parser_options),
        BulkHandler(engine, parser_options, settings),
        EventStreamHandler(hub, parser_options, settings),
        FastReadHandler(reader, parser_options),
        Sinks(reader.pool, lease_seconds=settings.relay_lease_seconds),
        webhooks,
        Totals(reader.pool),
        create_audit_store(settings, reader.pool),
        SealStore(reader.pool),
        HeadStore(reader.pool),
        auth.authenticator,
        auth.key_cache,
        auth.keys,
        wakeup_path,
    )
    return create_app(
        service,
        _create_console_routes(service, samples, replica) if settings.console_enabled else None,
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


def _create_console_routes(
    service: AppContext, samples: MetricsHistory, replica: Replica | None
) -> ConsoleRoutes:
    settings, pool = service.settings, service.reader.pool
    limits = SessionLimits(
        timedelta(seconds=settings.console_idle_seconds),
        timedelta(seconds=settings.console_session_seconds),
        settings.console_sessions_of_key_max,
    )
    seconds = settings.read_timeout_seconds
    sessions = ConsoleSessions(pool, limits, timeout_seconds=seconds)
    charts = Charts(pool, timeout_seconds=seconds, replica=replica)
    return create_console_routes(service, sessions, charts, samples)
