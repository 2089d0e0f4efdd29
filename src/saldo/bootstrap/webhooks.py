"""The relays of webhooks, and the store of subscriptions for commands."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

from aiohttp.abc import AbstractResolver

from saldo.bootstrap.pools import WEBHOOK_API_CONNECTIONS, WEBHOOK_CONNECTIONS
from saldo.events.event import EventEncoder
from saldo.lifecycle.tasks import cancel_until_ended
from saldo.relay.relay import Relay, RelayLimits
from saldo.relay.webhooks.destinations import DestinationPolicy
from saldo.relay.webhooks.http_sender import HttpSender
from saldo.relay.webhooks.sink import WebhookLimits, WebhookSink
from saldo.relay.webhooks.supervisor import WebhookSinks, WebhookSupervisor
from saldo.settings.model import Settings
from saldo.store.connections.connection import open_pool
from saldo.store.log import Log
from saldo.store.webhooks import ActiveWebhook, Webhooks

WEBHOOK_BATCH_EVENTS_MAX = 100
"""Maximum number of events that a webhook's relay publishes before it moves the cursor. After a crash, up to this many
events may be delivered twice."""


WEBHOOK_POLL_SECONDS = 5.0
"""Polling interval of a webhook's relay. New entries in the log wake the relay earlier."""


@asynccontextmanager
async def run_webhooks(
    settings: Settings, database_url: str, resolver: AbstractResolver | None = None
) -> AsyncIterator[WebhookSupervisor]:
    """Run a relay for each webhook. Relays are started and stopped as subscriptions change. If the settings disable
    webhooks, no relay runs.

    Args:
        resolver: the resolver of endpoints' host names; None means the system's resolver.
    """
    sender = HttpSender(
        timeout_seconds=settings.webhook_timeout_seconds,
        destinations=DestinationPolicy.from_settings(settings),
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
            supervisor = _create_webhook_supervisor(settings, pool, sender)
            supervisor_task = asyncio.create_task(
                supervisor.run() if settings.webhooks_enabled else asyncio.sleep(0)
            )
            try:
                yield supervisor
            finally:
                await cancel_until_ended([supervisor_task])
                await supervisor.stop(settings.shutdown_timeout_seconds)
    finally:
        pool.terminate()


@asynccontextmanager
async def open_webhook_store(settings: Settings, database_url: str) -> AsyncIterator[Webhooks]:
    """Open the store of the subscriptions for a short-lived command."""
    webhooks = await Webhooks.open(
        database_url,
        connections=WEBHOOK_API_CONNECTIONS,
        timeout_seconds=settings.read_timeout_seconds,
    )
    try:
        yield webhooks
    finally:
        webhooks.terminate()


def _create_webhook_supervisor(
    settings: Settings, pool: Any, sender: HttpSender
) -> WebhookSupervisor:
    webhooks = Webhooks(pool, timeout_seconds=settings.batch_timeout_seconds)
    log, encoder = Log(pool), EventEncoder(settings.currency_decimals)
    sinks = WebhookSinks(pool, lease_seconds=settings.relay_lease_seconds)
    bounds = WebhookLimits(
        concurrency=settings.webhook_concurrency,
        backoff_seconds_min=settings.webhook_backoff_seconds_min,
        backoff_seconds_max=settings.webhook_backoff_seconds_max,
        give_up=timedelta(seconds=settings.webhook_give_up_seconds),
        disable=timedelta(seconds=settings.webhook_disable_after_seconds),
        pending_max=settings.webhook_pending_max,
    )
    limits = RelayLimits(
        batch_events_max=min(WEBHOOK_BATCH_EVENTS_MAX, settings.webhook_pending_max),
        poll_seconds=WEBHOOK_POLL_SECONDS,
        lease_seconds=settings.relay_lease_seconds,
        publish_timeout_seconds=None,
    )

    def create_sink(subscription: ActiveWebhook) -> WebhookSink:
        return WebhookSink(subscription, webhooks, log, encoder, sender, bounds)

    def create_relay(sink: WebhookSink) -> Relay:
        return Relay(sink, log, sinks, encoder, limits)

    return WebhookSupervisor(
        webhooks, log, create_sink, create_relay, poll_seconds=settings.relay_poll_seconds
    )
