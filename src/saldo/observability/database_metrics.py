"""Metrics that are queried from the database at each scrape.

Every service reports the same numbers, because they come from the database and not from the processes of the service.
Dashboards must therefore use the maximum over all services and not the sum. Values that can't be queried are omitted.
Labels contain no URLs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric


class SinkFigures(Protocol):
    """The metrics of a sink (`saldo.store.sinks.SinkStatus`)."""

    @property
    def name(self) -> str: ...
    @property
    def is_active(self) -> bool: ...
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
    @property
    def is_blocked(self) -> bool: ...


class SessionFigures(Protocol):
    """The metrics of the database server (`saldo.store.server_figures.ServerFigures`)."""

    @property
    def waiting_sessions(self) -> int: ...
    @property
    def longest_transaction_seconds(self) -> float: ...
    @property
    def archived_files(self) -> int | None: ...
    @property
    def archive_failures(self) -> int | None: ...


class WebhookFigures(Protocol):
    """The metrics of a webhook (`saldo.store.webhooks.Webhook`)."""

    @property
    def id(self) -> int: ...
    @property
    def is_disabled(self) -> bool: ...
    @property
    def attempts_succeeded(self) -> int: ...
    @property
    def attempts_failed(self) -> int: ...
    @property
    def deliveries_pending(self) -> int: ...
    @property
    def deliveries_dead(self) -> int: ...
    @property
    def oldest_pending_seconds(self) -> float: ...


class LedgerFigures(Protocol):
    """The metrics of the ledger (`saldo.store.totals.LedgerTotals`). Amounts are in minor units."""

    @property
    def users(self) -> int: ...
    @property
    def posted_entries(self) -> int: ...
    @property
    def refused_entries(self) -> int: ...
    @property
    def balance(self) -> int: ...
    @property
    def deposit_sum(self) -> int: ...
    @property
    def withdrawal_sum(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


class AuditFigures(Protocol):
    """The metrics of the audit in the background (`saldo.store.audit.progress.AuditStatus`)."""

    @property
    def is_active(self) -> bool: ...
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
    """The metrics of the seals (`saldo.store.seals.SealTotals`)."""

    @property
    def entries(self) -> int: ...
    @property
    def seconds_behind(self) -> float: ...


class HeadFigures(Protocol):
    """The metrics of the signed heads (`saldo.store.heads.HeadStatus`)."""

    @property
    def published_count(self) -> int: ...
    @property
    def age_seconds(self) -> float: ...


class DiskValues(Protocol):
    """The disk of the embedded server's data directory (`shutil.disk_usage`), in bytes."""

    @property
    def total(self) -> int: ...
    @property
    def free(self) -> int: ...


class DatabaseMetrics(NamedTuple):
    """The queried values. A value that is None or empty does not exist, or could not be queried.

    Attributes:
        roundtrip_seconds: duration of a query to the database; None if the database does not respond.
        replica_lag_seconds: lag of the replica.
        is_audited: whether the audit in the background is enabled.
        heads: the signed heads; None if none are published.
        head_interval_seconds: interval at which signed heads are published.
        decimals: decimals of the currency.
    """

    roundtrip_seconds: float | None
    server: SessionFigures | None
    replica_lag_seconds: float | None
    sinks: Sequence[SinkFigures]
    webhooks: Sequence[WebhookFigures]
    ledger: LedgerFigures | None
    audit: AuditFigures | None
    is_audited: bool
    seals: SealFigures | None
    heads: HeadFigures | None
    head_interval_seconds: float
    decimals: int
    disk: DiskValues | None

    def collect(self) -> Iterator[Metric]:
        """Yield the metric families, as a collector of `prometheus_client`."""
        yield from _build_database_metrics(
            self.roundtrip_seconds, self.replica_lag_seconds, self.disk
        )
        if self.server is not None:
            yield from _build_server_metrics(self.server)
        yield from _build_sink_metrics(self.sinks)
        yield from _build_webhook_metrics(self.webhooks)
        if self.ledger is not None:
            yield from _build_ledger_metrics(self.ledger, self.decimals)
        if self.audit is not None:
            yield from _build_audit_metrics(self.audit, is_audited=self.is_audited)
        if self.seals is not None:
            yield from _build_seal_metrics(self.seals)
        if self.heads is not None:
            yield from _build_head_metrics(self.heads, self.head_interval_seconds)


def _create_gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=value)


def _build_database_metrics(
    roundtrip_seconds: float | None, replica_lag_seconds: float | None, disk: DiskValues | None
) -> Iterator[Metric]:
    up = roundtrip_seconds is not None
    yield _create_gauge("saldo_database_up", "Whether the database accepts writes.", up)
    if roundtrip_seconds is not None:
        yield _create_gauge(
            "saldo_database_roundtrip_seconds",
            "Round-trip time of a query to the database.",
            roundtrip_seconds,
        )
    if replica_lag_seconds is not None:
        yield _create_gauge(
            "saldo_replica_lag_seconds",
            "Lag of the read replica, from the last transaction that it has replayed.",
            replica_lag_seconds,
        )
    if disk is not None:
        yield _create_gauge(
            "saldo_data_disk_free_bytes", "Free space on the disk of the data directory.", disk.free
        )
        yield _create_gauge(
            "saldo_data_disk_size_bytes", "Size of the disk of the data directory.", disk.total
        )


def _build_server_metrics(server: SessionFigures) -> Iterator[Metric]:
    yield _create_gauge(
        "saldo_database_waiting_sessions",
        "Sessions of the database that wait for a lock.",
        server.waiting_sessions,
    )
    yield _create_gauge(
        "saldo_database_longest_transaction_seconds",
        "Age of the oldest open transaction of the database; 0 if there is none.",
        server.longest_transaction_seconds,
    )
    if server.archived_files is not None and server.archive_failures is not None:
        yield CounterMetricFamily(
            "saldo_wal_archived_files",
            "WAL files that the server has archived.",
            value=server.archived_files,
        )
        yield CounterMetricFamily(
            "saldo_wal_archive_failures",
            "Failed attempts of the server to archive a WAL file.",
            value=server.archive_failures,
        )


_SINK_METRICS = (
    (
        GaugeMetricFamily,
        "saldo_sink_events_behind",
        "Events that the sink has not confirmed yet.",
        "events_behind",
    ),
    (
        GaugeMetricFamily,
        "saldo_sink_seconds_behind",
        "Age of the oldest event that the sink has not confirmed yet.",
        "seconds_behind",
    ),
    (
        GaugeMetricFamily,
        "saldo_sink_active",
        "Whether a relay holds the sink's lease.",
        "is_active",
    ),
    (
        GaugeMetricFamily,
        "saldo_sink_blocked",
        "1 if the broker has blocked the relay's connection within the last minute.",
        "is_blocked",
    ),
    (
        CounterMetricFamily,
        "saldo_sink_events_published",
        "Events that the sink confirmed, including repetitions.",
        "events_published",
    ),
    (
        CounterMetricFamily,
        "saldo_sink_events_unrouted",
        "Events that the sink confirmed, but could not route to a queue.",
        "events_unrouted",
    ),
    (CounterMetricFamily, "saldo_sink_failures", "Failures of the sink.", "failures"),
)


def _build_sink_metrics(sinks: Sequence[SinkFigures]) -> Iterator[Metric]:
    for family, name, text, attribute in _SINK_METRICS if sinks else ():
        metric = family(name, text, labels=["sink"])
        for sink in sinks:
            metric.add_metric([sink.name], float(getattr(sink, attribute)))
        yield metric


def _build_webhook_metrics(webhooks: Sequence[WebhookFigures]) -> Iterator[Metric]:
    if not webhooks:
        return
    attempts = CounterMetricFamily(
        "saldo_webhook_attempts", "Delivery attempts, by outcome.", labels=["webhook", "outcome"]
    )
    deliveries = GaugeMetricFamily(
        "saldo_webhook_deliveries",
        "Pending and dead deliveries.",
        labels=["webhook", "state"],
    )
    oldest = GaugeMetricFamily(
        "saldo_webhook_oldest_pending_seconds",
        "Age of the oldest pending delivery; 0 if there is none.",
        labels=["webhook"],
    )
    disabled = GaugeMetricFamily(
        "saldo_webhook_disabled", "1 if the webhook is disabled.", labels=["webhook"]
    )
    for each in webhooks:
        webhook = str(each.id)
        attempts.add_metric([webhook, "succeeded"], each.attempts_succeeded)
        attempts.add_metric([webhook, "failed"], each.attempts_failed)
        deliveries.add_metric([webhook, "pending"], each.deliveries_pending)
        deliveries.add_metric([webhook, "dead"], each.deliveries_dead)
        oldest.add_metric([webhook], each.oldest_pending_seconds)
        disabled.add_metric([webhook], each.is_disabled)
    yield from (attempts, deliveries, oldest, disabled)


def _build_ledger_metrics(ledger: LedgerFigures, decimals: int) -> Iterator[Metric]:
    entries = GaugeMetricFamily(
        "saldo_ledger_entries", "Transactions in the log, by outcome.", labels=["outcome"]
    )
    entries.add_metric(["posted"], ledger.posted_entries)
    entries.add_metric(["refused"], ledger.refused_entries)
    amounts = CounterMetricFamily(
        "saldo_ledger_amount",
        "Sum of the posted deposits and withdrawals, in units of the currency.",
        labels=["type"],
    )
    amounts.add_metric(["deposit"], ledger.deposit_sum / 10**decimals)
    amounts.add_metric(["withdrawal"], ledger.withdrawal_sum / 10**decimals)
    yield amounts
    yield _create_gauge("saldo_ledger_users", "Number of users.", ledger.users)
    yield entries
    yield _create_gauge(
        "saldo_ledger_balance",
        "Sum of all balances, in units of the currency.",
        ledger.balance / 10**decimals,
    )
    yield _create_gauge(
        "saldo_ledger_seconds_behind",
        "Age of the oldest entry that is not included in the ledger's metrics yet.",
        ledger.seconds_behind,
    )


def _build_audit_metrics(audit: AuditFigures, *, is_audited: bool) -> Iterator[Metric]:
    yield _create_gauge(
        "saldo_audit_faults",
        "Faults of the ledger that the audit found and nobody has acknowledged.",
        audit.faults,
    )
    if not is_audited:
        return
    yield _create_gauge(
        "saldo_audit_active", "Whether the audit in the background is running.", audit.is_active
    )
    yield CounterMetricFamily(
        "saldo_audit_rounds", "Completed rounds of the audit.", value=audit.rounds
    )
    yield CounterMetricFamily(
        "saldo_audit_entries",
        "Entries that the audit has checked, in all rounds.",
        value=audit.entries,
    )
    yield _create_gauge(
        "saldo_audit_round_progress_ratio",
        "Share of the shards that the current round has completed.",
        audit.shard / 64,
    )
    if audit.round_age_seconds is not None:
        yield _create_gauge(
            "saldo_audit_round_age_seconds",
            "Time since the last complete round of the audit.",
            audit.round_age_seconds,
        )


def _build_seal_metrics(seals: SealFigures) -> Iterator[Metric]:
    yield _create_gauge(
        "saldo_sealed_entries", "Entries of the log that are sealed.", seals.entries
    )
    yield _create_gauge(
        "saldo_seals_seconds_behind",
        "Age of the oldest entry that is not sealed.",
        seals.seconds_behind,
    )


def _build_head_metrics(heads: HeadFigures, interval_seconds: float) -> Iterator[Metric]:
    yield CounterMetricFamily(
        "saldo_heads_published", "Signed heads that were published.", value=heads.published_count
    )
    yield _create_gauge(
        "saldo_heads_age_seconds",
        "Time since the last publication of a signed head, or since the ledger was prepared for it.",
        heads.age_seconds,
    )
    yield _create_gauge(
        "saldo_heads_interval_seconds",
        "Configured interval between two signed heads.",
        interval_seconds,
    )
