"""Webhooks: a relay for each, and the subscriptions for who asks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp.abc import AbstractResolver

from saldo.bootstrap.pools import WEBHOOK_API_CONNECTIONS
from saldo.relay.events import Encoder
from saldo.relay.relay import Relay, RelayLimits
from saldo.relay.webhooks.relays import WebhookRelays, WebhookSinks
from saldo.relay.webhooks.sender import Sender
from saldo.relay.webhooks.sink import WebhookLimits, WebhookSink
from saldo.settings import Settings
from saldo.store.connection import open_pool
from saldo.store.log import Log
from saldo.store.webhooks import Subscription, Webhooks

WEBHOOK_CONNECTIONS = 4
"""Of all webhooks of a process: apart, so that many endpoints that fail hold up no other sink."""


WEBHOOK_BATCH_EVENTS_MAX = 100
"""Events of a webhook that are under way before its cursor moves: as many may be delivered again."""


WEBHOOK_POLL_SECONDS = 5.0
"""How often a webhook's relay looks without being woken; something new in the log wakes it."""


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
