"""The metrics of webhooks, made of what stands in the database when they are asked for.

The relay is another process, perhaps on another machine; so each service tells the same numbers: take the maximum
over services, not the sum. No URLs in labels.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class WebhookNumbers(NamedTuple):
    """What is told of one webhook."""

    id: int
    enabled: bool
    attempts_succeeded: int
    attempts_failed: int
    deliveries_waiting: int
    deliveries_dead: int


class _Collector:
    def __init__(self, numbers: Iterable[WebhookNumbers]) -> None:
        self._numbers = [*numbers]

    def collect(self) -> Iterable[Metric]:
        attempts = CounterMetricFamily(
            "saldo_webhook_attempts",
            "Attempts to deliver, by outcome.",
            labels=["webhook", "outcome"],
        )
        deliveries = GaugeMetricFamily(
            "saldo_webhook_deliveries",
            "Events that wait for a retry or behind one, and events that were given up.",
            labels=["webhook", "state"],
        )
        disabled = GaugeMetricFamily(
            "saldo_webhook_disabled", "1: nothing is sent to it.", labels=["webhook"]
        )
        for each in self._numbers:
            webhook = str(each.id)
            attempts.add_metric([webhook, "succeeded"], each.attempts_succeeded)
            attempts.add_metric([webhook, "failed"], each.attempts_failed)
            deliveries.add_metric([webhook, "waiting"], each.deliveries_waiting)
            deliveries.add_metric([webhook, "dead"], each.deliveries_dead)
            disabled.add_metric([webhook], not each.enabled)
        return attempts, deliveries, disabled


def webhook_exposition(numbers: Iterable[WebhookNumbers]) -> bytes:
    """In Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(_Collector(numbers))
    return generate_latest(registry)
