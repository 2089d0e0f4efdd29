"""Metrics of what stands in the database, or is asked of it, at each scrape.

The relay is another process, perhaps on another machine; so each service tells the same numbers: take the maximum over
services, not the sum. What can't be asked now is left out. No URLs in labels.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class SinkFigures(Protocol):
    """What is shown of a sink (`saldo.store.sinks.SinkStatus`)."""

    @property
    def name(self) -> str: ...
    @property
    def active(self) -> bool: ...
    @property
    def events_published(self) -> int: ...
    @property
    def events_unrouted(self) -> int: ...
    @property
    def failures(self) -> int: ...
    @property
    def events_behind(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


class WebhookFigures(Protocol):
    """What is shown of a webhook (`saldo.store.webhooks.Webhook`)."""

    @property
    def id(self) -> int: ...
    @property
    def disabled(self) -> bool: ...
    @property
    def attempts_succeeded(self) -> int: ...
    @property
    def attempts_failed(self) -> int: ...
    @property
    def deliveries_waiting(self) -> int: ...
    @property
    def deliveries_dead(self) -> int: ...


class LedgerFigures(Protocol):
    """What the ledger holds (`saldo.store.totals.LedgerTotals`). balance: minor units."""

    @property
    def users(self) -> int: ...
    @property
    def posted(self) -> int: ...
    @property
    def refused(self) -> int: ...
    @property
    def balance(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


class AuditFigures(Protocol):
    """How the audit in the background is (`saldo.store.audits.AuditStatus`)."""

    @property
    def active(self) -> bool: ...
    @property
    def rounds(self) -> int: ...
    @property
    def entries(self) -> int: ...
    @property
    def shard(self) -> int: ...
    @property
    def round_age_seconds(self) -> float | None: ...
    @property
    def faults(self) -> int: ...


class SealFigures(Protocol):
    """How far the log is sealed (`saldo.store.seals.SealTotals`)."""

    @property
    def entries(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


class DiskFigures(Protocol):
    """What is shown of the disk of the embedded server's data (`shutil.disk_usage`), bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class Figures(NamedTuple):
    """All that was asked for. None, or empty: there is none, or it can't be asked now.

    Attributes:
        roundtrip_seconds: of a question to the database; None: it doesn't answer.
        audited: whether the log is audited in the background.
        decimals: of the currency.
    """

    roundtrip_seconds: float | None
    sinks: Sequence[SinkFigures]
    webhooks: Sequence[WebhookFigures]
    ledger: LedgerFigures | None
    audit: AuditFigures | None
    audited: bool
    seals: SealFigures | None
    decimals: int
    disk: DiskFigures | None

    def collect(self) -> Iterator[Metric]:
        """The families, as a collector of `prometheus_client` does."""
        yield from _database(self.roundtrip_seconds, self.disk)
        yield from _sinks(self.sinks)
        yield from _webhooks(self.webhooks)
        if self.ledger is not None:
            yield from _ledger(self.ledger, self.decimals)
        if self.audit is not None:
            yield from _audit(self.audit, audited=self.audited)
        if self.seals is not None:
            yield from _seals(self.seals)


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _database(roundtrip_seconds: float | None, disk: DiskFigures | None) -> Iterator[Metric]:
    up = roundtrip_seconds is not None
    yield _gauge("saldo_database_up", "Whether the database can be posted to.", up)
    if roundtrip_seconds is not None:
        yield _gauge(
            "saldo_database_roundtrip_seconds", "A question to it and back.", roundtrip_seconds
        )
    if disk is not None:
        yield _gauge("saldo_data_disk_free_bytes", "Of the disk of the data.", disk.free)
        yield _gauge("saldo_data_disk_size_bytes", "Of the disk of the data.", disk.total)


_SINK_METRICS = (
    (GaugeMetricFamily, "saldo_sink_events_behind", "Events not yet confirmed.", "events_behind"),
    (
        GaugeMetricFamily,
        "saldo_sink_seconds_behind",
        "Age of the oldest event not yet confirmed.",
        "seconds_behind",
    ),
    (GaugeMetricFamily, "saldo_sink_active", "Whether a relay holds the sink's lease.", "active"),
    (
        CounterMetricFamily,
        "saldo_sink_events_published",
        "Events confirmed, repetitions counted.",
        "events_published",
    ),
    (
        CounterMetricFamily,
        "saldo_sink_events_unrouted",
        "Events confirmed that the sink had nobody to give to.",
        "events_unrouted",
    ),
    (CounterMetricFamily, "saldo_sink_failures", "Failures of the sink.", "failures"),
)


def _sinks(sinks: Sequence[SinkFigures]) -> Iterator[Metric]:
    for family, name, text, attribute in _SINK_METRICS if sinks else ():
        metric = family(name, text, labels=["sink"])
        for sink in sinks:
            metric.add_metric([sink.name], float(getattr(sink, attribute)))
        yield metric


def _webhooks(webhooks: Sequence[WebhookFigures]) -> Iterator[Metric]:
    if not webhooks:
        return
    attempts = CounterMetricFamily(
        "saldo_webhook_attempts", "Attempts to deliver, by outcome.", labels=["webhook", "outcome"]
    )
    deliveries = GaugeMetricFamily(
        "saldo_webhook_deliveries",
        "Events that wait for a retry or behind one, and events that were given up.",
        labels=["webhook", "state"],
    )
    disabled = GaugeMetricFamily(
        "saldo_webhook_disabled", "1: nothing is sent to it.", labels=["webhook"]
    )
    for each in webhooks:
        webhook = str(each.id)
        attempts.add_metric([webhook, "succeeded"], each.attempts_succeeded)
        attempts.add_metric([webhook, "failed"], each.attempts_failed)
        deliveries.add_metric([webhook, "waiting"], each.deliveries_waiting)
        deliveries.add_metric([webhook, "dead"], each.deliveries_dead)
        disabled.add_metric([webhook], each.disabled)
    yield from (attempts, deliveries, disabled)


def _ledger(ledger: LedgerFigures, decimals: int) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "saldo_ledger_entries", "Transactions in the log, by outcome.", labels=["outcome"]
    )
    entries.add_metric(["posted"], ledger.posted)
    entries.add_metric(["refused"], ledger.refused)
    yield _gauge("saldo_ledger_users", "Users.", ledger.users)
    yield entries
    yield _gauge(
        "saldo_ledger_balance",
        "Sum of all balances, in units of the currency.",
        ledger.balance / 10**decimals,
    )
    yield _gauge(
        "saldo_ledger_seconds_behind",
        "Age of the oldest entry that the figures of the ledger leave out.",
        ledger.seconds_behind,
    )


def _audit(audit: AuditFigures, *, audited: bool) -> Iterator[Metric]:
    yield _gauge(
        "saldo_audit_faults",
        "Faults of the ledger that were found and that nobody has acknowledged.",
        audit.faults,
    )
    if not audited:
        return
    yield _gauge("saldo_audit_active", "Whether a process audits in the background.", audit.active)
    yield CounterMetricFamily(
        "saldo_audit_rounds", "Audits of the whole ledger completed.", value=audit.rounds
    )
    yield CounterMetricFamily(
        "saldo_audit_entries", "Entries audited, in all rounds.", value=audit.entries
    )
    yield _gauge(
        "saldo_audit_round_ratio", "Of the shards, those done in this round.", audit.shard / 64
    )
    if audit.round_age_seconds is not None:
        yield _gauge(
            "saldo_audit_round_age_seconds",
            "Since the last audit of the whole ledger was complete.",
            audit.round_age_seconds,
        )


def _seals(seals: SealFigures) -> Iterator[Metric]:
    yield _gauge("saldo_seals_entries", "Entries of the log that are sealed.", seals.entries)
    yield _gauge(
        "saldo_seals_seconds_behind",
        "Age of the oldest entry that is not sealed.",
        seals.seconds_behind,
    )
