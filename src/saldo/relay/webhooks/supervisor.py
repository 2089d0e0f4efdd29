"""The supervisor of webhooks: it starts and stops the relay of each enabled webhook as subscriptions change."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import Callable
from typing import NamedTuple

from saldo.relay.relay import Relay
from saldo.relay.webhooks.sink import WebhookSink
from saldo.store.errors import StoreError
from saldo.store.log import Log, Positions
from saldo.store.sinks import Sinks
from saldo.store.webhooks import ActiveWebhook, Webhooks

FOLLOW_SECONDS = 1.0
"""Interval at which the subscriptions are polled for new, changed and deleted ones."""

_log = logging.getLogger("saldo.relay")


class WebhookSinks(Sinks):
    """Stored sinks of webhooks. A relay must not create them, because it may start after the webhook was deleted. They
    are created together with the webhook."""

    async def create(self, name: str) -> None:
        """Do nothing."""


class _RunningWebhook(NamedTuple):
    subscription: ActiveWebhook
    sink: WebhookSink
    relay: Relay
    task: asyncio.Task[None]


class WebhookSupervisor:
    """Runs the relays of all webhooks. They are started, updated and ended as the subscriptions change."""

    def __init__(
        self,
        webhooks: Webhooks,
        log: Log,
        create_sink: Callable[[ActiveWebhook], WebhookSink],
        create_relay: Callable[[WebhookSink], Relay],
        *,
        poll_seconds: float,
    ) -> None:
        """
        Args:
            poll_seconds: interval at which the log is polled for new entries, once for all webhooks.
        """
        self._webhooks = webhooks
        self._log = log
        self._create_sink = create_sink
        self._create_relay = create_relay
        self._poll_seconds = poll_seconds
        self._running: dict[int, _RunningWebhook] = {}
        self._ending: dict[int, asyncio.Task[None]] = {}

    def wake(self) -> None:
        """Signal that the log may have new entries."""
        for running in self._running.values():
            running.relay.wake()

    async def run(self) -> None:
        """Run until cancelled. The caller must call `stop` afterwards."""
        tasks = [
            asyncio.create_task(self._follow_webhooks()),
            asyncio.create_task(self._poll_log()),
        ]
        try:
            # A task group is not used, because it cancels its tasks only once, which is not always enough
            # (`saldo.lifecycle.tasks`).
            await asyncio.gather(*tasks)
        except Exception:
            _log.exception("the webhook supervisor failed")
            raise
        finally:
            for task in tasks:
                task.cancel()

    async def stop(self, seconds_max: float) -> None:
        """End all relays. Attempts in flight are finished, and other events remain pending."""
        for webhook_id in [*self._running]:
            self._end_webhook(webhook_id, seconds_max)
        await asyncio.gather(*self._ending.values())

    async def _follow_webhooks(self) -> None:
        while True:
            try:
                self._reconcile({each.id: each for each in await self._webhooks.list_active()})
            except StoreError as error:
                _log.warning("can't read the webhooks: %s", error)
            await asyncio.sleep(FOLLOW_SECONDS)

    async def _poll_log(self) -> None:
        heads: Positions = {}
        while True:
            await asyncio.sleep(self._poll_seconds)
            if not self._running:
                continue
            with contextlib.suppress(StoreError):
                before, heads = heads, await self._log.read_last_positions()
                if heads != before:
                    self.wake()

    def _reconcile(self, active_webhooks: dict[int, ActiveWebhook]) -> None:
        for webhook_id, running in [*self._running.items()]:
            subscription = active_webhooks.get(webhook_id)
            # A webhook that was disabled and enabled between two polls has a drained sink. It is started again, and so
            # is a relay that failed.
            if subscription is None or running.sink.is_drained or running.task.done():
                self._end_webhook(webhook_id, FOLLOW_SECONDS)
            elif subscription != running.subscription:
                running.sink.change(subscription)
                self._running[webhook_id] = running._replace(subscription=subscription)
        for webhook_id, subscription in active_webhooks.items():
            if webhook_id not in self._running and webhook_id not in self._ending:
                sink = self._create_sink(subscription)
                relay = self._create_relay(sink)
                task = asyncio.create_task(relay.run(), name=f"relay {sink.name}")
                self._running[webhook_id] = _RunningWebhook(subscription, sink, relay, task)

    def _end_webhook(self, webhook_id: int, seconds_max: float) -> None:
        running = self._running.pop(webhook_id)
        running.sink.drain()
        running.relay.stop(leaving=True)

        async def end() -> None:
            await asyncio.wait({running.task}, timeout=seconds_max)
            running.task.cancel()
            (ended,) = await asyncio.gather(running.task, return_exceptions=True)
            if isinstance(ended, Exception):
                _log.error("%s failed", running.sink.name, exc_info=ended)
            self._ending.pop(webhook_id, None)

        self._ending[webhook_id] = asyncio.create_task(end())
