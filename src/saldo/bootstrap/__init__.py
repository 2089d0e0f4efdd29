"""The only place that wires objects together; the order of start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from aiohttp.abc import AbstractResolver

from saldo import __version__
from saldo.bootstrap.access import Guard
from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.lane import Announce
from saldo.http.app import create_app
from saldo.http.bulk import Bulk
from saldo.http.events import Events
from saldo.http.hot import Front
from saldo.http.questions import Questions
from saldo.http.service import Service
from saldo.http.transactions import Transactions
from saldo.http.wire import Reading
from saldo.ledger.model import Limits
from saldo.observability.vitals import watch
from saldo.relay.auditing import AuditLimits, Auditor
from saldo.relay.bell import Bell, listen
from saldo.relay.counting import count
from saldo.relay.events import Encoder
from saldo.relay.exchange import ExchangeOptions, ExchangeSink
from saldo.relay.live import Hub, LiveLimits
from saldo.relay.pace import Beside
from saldo.relay.relay import Relay, RelayLimits, no_span, relaying
from saldo.relay.sealing import Sealer
from saldo.relay.sink import Sink
from saldo.relay.stream import StreamOptions, StreamSink
from saldo.relay.webhooks.relays import WebhookRelays, WebhookSinks
from saldo.relay.webhooks.sender import Sender
from saldo.relay.webhooks.sink import WebhookLimits, WebhookSink
from saldo.settings import Settings
from saldo.store.audits import Audits
from saldo.store.connection import check, open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.log import Log
from saldo.store.migrate import prepare
from saldo.store.poster import Poster
from saldo.store.reader import Reader
from saldo.store.roles import warn_of_rights
from saldo.store.seals import Seals
from saldo.store.sinks import Sinks, SinkStatus
from saldo.store.totals import Totals
from saldo.store.verify import Verification
from saldo.store.walk import LogReader
from saldo.store.webhooks import Subscription, Webhooks

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

RELAY_CONNECTIONS = 6
"""Of all relays of a process: one reads while others move cursors and renew leases; one counts, one seals, one
audits."""

EVENTS_CONNECTIONS = 3
"""Of the live stream of a process: the tail, the past, and where new subscribers begin."""

WEBHOOK_CONNECTIONS = 4
"""Of all webhooks of a process: apart, so that many endpoints that fail hold up no other sink."""

WEBHOOK_API_CONNECTIONS = 1
"""Of a service process, for requests about webhooks, which are few."""

WEBHOOK_BATCH_EVENTS_MAX = 100
"""Events of a webhook that are under way before its cursor moves: as many may be delivered again."""

WEBHOOK_POLL_SECONDS = 5.0
"""How often a webhook's relay looks without being woken; something new in the log wakes it."""

RewindTarget = Literal["start", "now"] | datetime | tuple[int, int]
"""Everything again; nothing again; what was recorded from then on; what is after `seq` in one shard."""


class PastTheHeadError(Exception):
    """A position that the log doesn't have."""


class Database:
    """The database that the settings name, made ready: started if embedded, migrated, checked.

    A context manager; gives the connection string of the service's role.

    Raises:
        SetUpError: one line for the operator.
    """

    def __init__(self, settings: Settings, *, beside_service: bool = False) -> None:
        """
        Args:
            beside_service: use the embedded server of a service that runs, if one does.
        """
        self._settings = settings
        self._beside_service = beside_service
        self._embedded: EmbeddedServer | None = None
        self._attached: EmbeddedServer | None = None

    @property
    def owner_url(self) -> str:
        """The connection string of the role that owns the schema, once it is made ready."""
        server = self._embedded or self._attached
        if server is not None:
            return server.owner_url
        assert self._settings.database_url is not None
        return self._settings.database_owner_url or self._settings.database_url

    def __enter__(self) -> str:
        if self._settings.database_url is None:
            server = EmbeddedServer(
                self._settings.data_dir, archive_dir=self._settings.wal_archive_dir
            )
            if self._beside_service and server.attach():
                self._attached = server
                return server.service_url
            self._embedded = server
            server.start()
        try:
            return self.prepare()
        except BaseException:
            self.__exit__()
            raise

    def prepare(self) -> str:
        """Migrates and checks; the connection string of the service's role."""
        settings = self._settings
        if self._embedded is not None:
            service_url = self._embedded.service_url
        else:
            assert settings.database_url is not None
            service_url = settings.database_url
        prepare(
            self.owner_url,
            service_url,
            currency_decimals=settings.currency_decimals,
            max_lateness=settings.max_lateness,
        )
        # The migrations may have used another role: this one's password, rights and way there.
        asyncio.run(check(service_url))
        warn_of_rights(service_url)
        return service_url

    def __exit__(self, *_: object) -> None:
        if self._embedded is not None:
            self._embedded.stop()


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


def create_engine(
    settings: Settings,
    database_url: str,
    announce: Announce = lambda: None,
    tracing: Tracing | None = None,
) -> Engine:
    """The engine over lanes that connect to the database when they first need it.

    Args:
        announce, tracing: see `Engine`.
    """
    limits = limits_of(settings)

    async def connect(lane: int) -> Poster:
        return await Poster.open(
            database_url,
            limits,
            lane=lane,
            statement_timeout_seconds=settings.batch_timeout_seconds,
        )

    return Engine(
        connect,
        EngineLimits(
            lanes=settings.lane_count,
            batch_requests_max=settings.batch_requests_max,
            split_requests_min=settings.split_requests_min,
            queue_requests_max=settings.queue_requests_max,
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

    engine = create_engine(settings, database_url, announce, tracing)
    reader = await Reader.open(
        database_url,
        connections=settings.read_connections,
        timeout_seconds=settings.read_timeout_seconds,
        entries_read_max=settings.page_entries_read_max,
    )
    webhooks = await Webhooks.open(
        database_url,
        connections=WEBHOOK_API_CONNECTIONS,
        timeout_seconds=settings.read_timeout_seconds,
    )
    guard = await Guard.open(settings, database_url)
    engine.start()
    await guard.start()
    pools = {
        "read": reader.pool,
        "events": events_pool,
        "webhooks": webhooks.pool,
        "keys": guard.keys.pool,
    }
    watching = asyncio.create_task(watch(engine, pools), name="vitals")
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
        yield create_app(service)
    finally:
        watching.cancel()
        await guard.stop()
        await engine.stop(settings.stop_seconds)
        await hub.close()
        events_pool.terminate()
        await reader.close()
        webhooks.terminate()
        if bell is not None:
            bell.close()


@asynccontextmanager
async def tracing_to(settings: Settings) -> AsyncIterator[Tracing | None]:
    """Where the spans of this process go; None: nowhere. Sends what is left at the end."""
    if settings.tracing_url is None:
        yield None
        return
    from saldo.observability.tracing import Tracing  # noqa: PLC0415 - its packages are an extra

    tracing = Tracing.to(settings.tracing_url, __version__, settings.tracing_ratio)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.stop)


@asynccontextmanager
async def relays_at_work(
    settings: Settings,
    database_url: str,
    bell_path: Path | None,
    tracing: Tracing | None = None,
) -> AsyncIterator[None]:
    """A relay for each configured sink, started; at the end each publishes what is there.

    Args:
        bell_path: where to listen for what is new; None: only looking tells.
        tracing: gets a span for each batch of events; not for those of webhooks.
    """
    async with _relay_pool(settings, database_url) as pool:
        log = Log(pool)
        sinks = Sinks(pool, lease_seconds=settings.relay_lease_seconds)
        encoder = Encoder(settings.currency_decimals)
        limits = RelayLimits(
            batch_events_max=settings.relay_batch_events_max,
            poll_seconds=settings.relay_poll_seconds,
            lease_seconds=settings.relay_lease_seconds,
            publish_timeout_seconds=settings.relay_publish_timeout_seconds,
        )
        span = no_span if tracing is None else tracing.span
        beside = Beside(told=bell_path is not None)
        relays = [
            Relay(sink, log, sinks, encoder, limits, span, beside) for sink in sinks_of(settings)
        ]

        def wake() -> None:
            beside.rung()
            for relay in relays:
                relay.wake()
            webhooks.wake()

        async with webhooks_at_work(settings, database_url) as webhooks:
            bell = None if bell_path is None else await listen(bell_path, wake)
            followers = [
                asyncio.create_task(count(Totals(pool), beside), name="counting"),
                asyncio.create_task(_audit(settings, pool, beside), name="audit"),
            ]
            if settings.seals:
                sealer = Sealer(Seals(pool), beside)
                followers.append(asyncio.create_task(sealer.run(), name="sealing"))
            try:
                async with relaying(relays, settings.stop_seconds):
                    yield
            finally:
                for follower in followers:
                    follower.cancel()
                await asyncio.gather(*followers, return_exceptions=True)
        if bell is not None:
            bell.close()


async def _audit(settings: Settings, pool: Any, beside: Beside) -> None:
    """Audits in the background, unless the settings say that it shall not."""
    if settings.audit_entries_per_second == 0:
        return
    limits = AuditLimits(settings.audit_entries_per_second, settings.relay_lease_seconds)
    await Auditor(audits_of(settings, pool), LogReader(pool), beside, limits).run()


def audits_of(settings: Settings, pool: Any) -> Audits:
    """Where the position of the audit is kept, and what it has found."""
    return Audits(pool, lease_seconds=settings.relay_lease_seconds)


@asynccontextmanager
async def audits_in(settings: Settings, database_url: str) -> AsyncIterator[Audits]:
    """The same, for one who asks and goes."""
    async with _relay_pool(settings, database_url) as pool:
        yield audits_of(settings, pool)


@asynccontextmanager
async def webhooks_at_work(
    settings: Settings, database_url: str, resolver: AbstractResolver | None = None
) -> AsyncIterator[WebhookRelays]:
    """A relay for each webhook, followed as they come and go.

    Args:
        resolver: of the names of endpoints; None: the system's.
    """
    sender = Sender(
        timeout_seconds=settings.webhook_timeout_seconds,
        allow_private=settings.webhook_allow_private,
        resolver=resolver,
    )
    pool = await open_pool(
        database_url,
        connections=WEBHOOK_CONNECTIONS,
        statement_timeout_seconds=settings.batch_timeout_seconds,
        application_name="saldo webhooks",
    )
    try:
        async with sender:
            relays = _webhook_relays(settings, pool, sender)
            following = asyncio.create_task(relays.run() if settings.webhooks else asyncio.sleep(0))
            try:
                yield relays
            finally:
                following.cancel()
                await asyncio.gather(following, return_exceptions=True)
                await relays.stop(settings.stop_seconds)
    finally:
        pool.terminate()


@asynccontextmanager
async def webhook_store(settings: Settings, database_url: str) -> AsyncIterator[Webhooks]:
    """The subscriptions, for one who asks and goes."""
    webhooks = await Webhooks.open(
        database_url,
        connections=WEBHOOK_API_CONNECTIONS,
        timeout_seconds=settings.read_timeout_seconds,
    )
    try:
        yield webhooks
    finally:
        webhooks.terminate()


@asynccontextmanager
async def verification(settings: Settings, database_url: str) -> AsyncIterator[Verification]:
    """A walk over the whole ledger that has not begun."""
    pool = await open_pool(
        database_url,
        connections=1,
        statement_timeout_seconds=settings.batch_timeout_seconds,
        application_name="saldo verify",
    )
    try:
        yield Verification(pool)
    finally:
        pool.terminate()


def _webhook_relays(settings: Settings, pool: Any, sender: Sender) -> WebhookRelays:
    webhooks = Webhooks(pool, timeout_seconds=settings.batch_timeout_seconds)
    log, encoder = Log(pool), Encoder(settings.currency_decimals)
    sinks = WebhookSinks(pool, lease_seconds=settings.relay_lease_seconds)
    bounds = WebhookLimits(
        concurrency=settings.webhook_concurrency,
        backoff_seconds_min=settings.webhook_backoff_seconds_min,
        backoff_seconds_max=settings.webhook_backoff_seconds_max,
        give_up=timedelta(seconds=settings.webhook_retry_seconds_max),
        disable=timedelta(seconds=settings.webhook_disable_seconds),
        pending_max=settings.webhook_pending_max,
    )
    limits = RelayLimits(
        batch_events_max=min(WEBHOOK_BATCH_EVENTS_MAX, settings.webhook_pending_max),
        poll_seconds=WEBHOOK_POLL_SECONDS,
        lease_seconds=settings.relay_lease_seconds,
        publish_timeout_seconds=None,
    )

    def create_sink(subscription: Subscription) -> WebhookSink:
        return WebhookSink(subscription, webhooks, log, encoder, sender, bounds)

    def create_relay(sink: WebhookSink) -> Relay:
        return Relay(sink, log, sinks, encoder, limits)

    return WebhookRelays(
        webhooks, log, create_sink, create_relay, poll_seconds=settings.relay_poll_seconds
    )


def sinks_of(settings: Settings) -> list[Sink]:
    """The sinks that are configured."""
    sinks: list[Sink] = []
    if settings.rabbitmq_url is not None:
        sinks.append(
            ExchangeSink(
                ExchangeOptions(
                    settings.rabbitmq_url,
                    settings.rabbitmq_exchange,
                    settings.rabbitmq_declare,
                    settings.rabbitmq_ca_file,
                )
            )
        )
    if settings.rabbitmq_stream_url is not None:
        sinks.append(
            StreamSink(
                StreamOptions(
                    settings.rabbitmq_stream_url,
                    settings.rabbitmq_stream,
                    settings.rabbitmq_declare,
                    settings.rabbitmq_stream_bytes_max,
                    settings.rabbitmq_ca_file,
                )
            )
        )
    return sinks


async def sinks_status(settings: Settings, database_url: str) -> list[SinkStatus]:
    """Every sink: what it has got, and how far it is behind."""
    async with _relay_pool(settings, database_url) as pool:
        return await Sinks(pool, lease_seconds=settings.relay_lease_seconds).status()


async def rewind_sink(settings: Settings, database_url: str, name: str, to: RewindTarget) -> None:
    """Lets a sink go on elsewhere in the log.

    Raises:
        UnknownSinkError: there is no such sink.
        PastTheHeadError: the log doesn't reach so far.
    """
    async with _relay_pool(settings, database_url) as pool:
        log = Log(pool)
        heads = await log.heads()
        if to == "start":
            positions = dict.fromkeys(heads, 0)
        elif to == "now":
            positions = heads
        elif isinstance(to, datetime):
            positions = await log.before(to)
        else:
            assert isinstance(to, tuple)
            shard, seq = to
            if seq > heads[shard]:
                raise PastTheHeadError(f"shard {shard} ends at {heads[shard]}")
            positions = {shard: seq}
        await Sinks(pool, lease_seconds=settings.relay_lease_seconds).rewind(name, positions)


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


@asynccontextmanager
async def _relay_pool(settings: Settings, database_url: str) -> AsyncIterator[Any]:
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
