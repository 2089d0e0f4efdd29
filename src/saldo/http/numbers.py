"""Metrics that come from the database: those of a fault of it are left out, the others must still be answered."""

from __future__ import annotations

import asyncio

from saldo.http.service import Service
from saldo.observability.webhooks import WebhookNumbers, webhook_exposition
from saldo.store.errors import StoreError

NUMBERS_SECONDS_MAX = 2.0
"""Then those of the database are left out: a scrape waits 10 s for all of them."""


async def webhook_metrics(service: Service) -> bytes:
    """Of all webhooks, in Prometheus' text format."""
    try:
        async with asyncio.timeout(NUMBERS_SECONDS_MAX):
            found = await service.webhooks.page(after_id=0, limit=service.settings.webhooks_max)
    except (StoreError, TimeoutError):
        return b""
    return webhook_exposition(
        WebhookNumbers(
            each.id,
            each.disabled_at is None,
            each.attempts_succeeded,
            each.attempts_failed,
            each.deliveries_waiting,
            each.deliveries_dead,
        )
        for each in found
    )
