"""The dashboard as rows of panels, and its conversion to Grafana's JSON.

Run this module to regenerate `dashboards/saldo.json`. In the queries, `@` stands for the labels that the variables of
the dashboard select. All instances export the same values for metrics that are read from the database, so these are
aggregated with `max by` and never with `sum`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Literal

PATH = Path(__file__).parent / "dashboards" / "saldo.json"

SELECTOR = 'job="$job",instance=~"$instance"'
COLUMNS = 24
RATE = "[$__rate_interval]"

GREEN, YELLOW, ORANGE, RED, BLUE, PURPLE = "green", "yellow", "orange", "red", "blue", "purple"

RUNBOOK_URL = "https://saldo.example/docs/howto/monitor.html"
"""Address of the runbooks, which an operator replaces as in the alerts."""

CONSOLE_URL = "https://saldo.example/console"
"""Address of the console, which an operator replaces."""

STATUS_COLOURS = {"2..": GREEN, "4..": YELLOW, "429": ORANGE, "5..": RED}
"""Colours of series by regular expressions of their names. The last one that matches is used."""

OUTCOME_COLOURS = {
    "posted": GREEN,
    "insufficient_funds": ORANGE,
    "balance_above_maximum": YELLOW,
    "unknown_user": PURPLE,
    "conflict": BLUE,
}
DIRECTION_COLOURS = {"deposits": GREEN, "withdrawals": BLUE}
UP_DOWN = {"0": ("down", RED), "1": ("up", GREEN)}
YES_NO = {"0": ("no", RED), "1": ("yes", GREEN)}
NO_YES = {"0": ("no", GREEN), "1": ("yes", RED)}

Steps = Sequence[tuple[str, float]]
"""The colours of a panel's thresholds, each with the value from which it applies."""


@dataclass(frozen=True)
class Query:
    """A PromQL expression. `legend` is the template of the names of its series."""

    expression: str
    legend: str

    @property
    def text(self) -> str:
        """The query for Grafana, in which Grafana's own variables are not replaced yet."""
        return self.expression.replace("@", SELECTOR)


@dataclass(frozen=True)
class Panel:
    """A panel of the dashboard.

    Attributes:
        unit: Grafana's name of the unit.
        steps: The thresholds, which are drawn as lines in a graph.
        width: The width in columns, of which there are 24.
        height: The height in Grafana's units of about 30 pixels.
        decimals: The number of decimals. With None, Grafana chooses it, and rounds 99.85 % to 99.9 %.
        no_value: The text that replaces a number while there is no value.
        names: The texts and colours that replace certain values.
        colours: The colours of series by regular expressions of their names.
        exporter: The exporter whose metrics the panel shows; None if it is Saldo. Such a panel is empty without it.
    """

    title: str
    description: str
    unit: str
    queries: Sequence[Query]
    kind: Literal["timeseries", "stat", "heatmap", "state-timeline"] = "timeseries"
    steps: Steps = ()
    stacked: bool = False
    width: int = 8
    height: int = 8
    maximum: float | None = None
    decimals: int | None = None
    no_value: str | None = None
    names: Mapping[str, tuple[str, str]] = field(default_factory=dict)
    colours: Mapping[str, str] = field(default_factory=dict)
    exporter: Literal["blackbox", "postgres", "rabbitmq", "node"] | None = None


def stat(
    title: str, description: str, unit: str, query: Query, steps: Steps = (), **other: Any
) -> Panel:
    """Return a panel with a single number."""
    size = {"width": 4, "height": 4}
    return Panel(title, description, unit, [query], "stat", steps, **(size | other))


def quantiles(
    metric: str, labels: str = "", quantiles: Sequence[float] = (0.5, 0.99)
) -> list[Query]:
    """Return queries for quantiles of a histogram by instance.

    In a quantile over all instances, many fast instances would hide a slow one.
    """
    chosen = f"@,{labels}" if labels else "@"
    return [
        Query(
            f"histogram_quantile({quantile}, sum by (le, instance) (rate({metric}_bucket{{{chosen}}}{RATE})))",
            f"p{quantile * 100:g}, {{{{instance}}}}",
        )
        for quantile in quantiles
    ]


POST = 'method="POST",route="/v1/transaction"'
API = 'route=~"/v1/.*",status!~"401|403|429"'
"""Selector of the responses that the objective counts.

The expressions below repeat those of deploy/prometheus/rules/recording.yml, so that the dashboard needs no rules.
"""
NO_TRAFFIC = "no traffic"


def error_share(window: str, labels: str = 'job="$job"') -> str:
    """Return the expression for the share of responses that are 5xx. It has no value without traffic."""
    errors = (
        f'sum(rate(saldo_http_requests_total{{{labels},route=~"/v1/.*",status=~"5.."}}{window}))'
    )
    return f"({errors} or vector(0)) / (sum(rate(saldo_http_requests_total{{{labels},{API}}}{window})) > 0)"


def slow_share(window: str) -> str:
    """Return the expression for the share of POST /v1/transaction that took over 250 ms.

    It has no value without such requests.
    """
    name = f'saldo_http_request_duration_seconds_{{kind}}{{{{job="$job",{POST}{{labels}}}}}}'
    quick = name.format(kind="bucket", labels=',le="0.25"')
    of_all = name.format(kind="count", labels="")
    return f"1 - sum(rate({quick}{window})) / (sum(rate({of_all}{window})) > 0)"


def zero_while_down(expression: str) -> str:
    """Return an expression that is 0 while no instance is up, since no request succeeds then."""
    return f'({expression}) * (max(up{{job="$job"}}) > bool 0)'


def budget_left(share: str, objective: float) -> str:
    """Return the expression for the share of an error budget that is left. It is negative after a missed objective."""
    return f"1 - ({share}) / {objective}"


def timeline(
    title: str, description: str, query: Query, names: Mapping[str, tuple[str, str]]
) -> Panel:
    """Return a panel that shows a state over time, with a line for each series."""
    return Panel(title, description, "short", [query], "state-timeline", names=names)


IDLE = "idle"
DECIDED = f'sum(rate(saldo_transactions_total{{@,replayed="false"}}{RATE}))'
POSTED = f'sum(rate(saldo_transactions_total{{@,outcome="posted",replayed="false"}}{RATE}))'
REFUSED = f'sum(rate(saldo_transactions_total{{@,outcome!="posted",replayed="false"}}{RATE}))'
FLOW = f"max by (type) (rate(saldo_ledger_amount_total{{@}}{RATE})) * 60"

OVERVIEW = [
    stat(
        "Alerts firing",
        "Firing alerts of this job and of its probe. The number is 0, too, if Prometheus has no rules for Saldo. "
        "docs/howto/monitor.md has a section about each alert.",
        "short",
        Query(
            'count(ALERTS{alertname=~"Saldo.+",severity!="none",alertstate="firing",job=~"|saldo-probe"} '
            'or ALERTS{alertname=~"Saldo.+",alertstate="firing",job="$job"}) or vector(0)',
            "firing",
        ),
        [(RED, 1)],
        decimals=0,
    ),
    stat(
        "Instances up",
        "Number of instances that Prometheus can scrape.",
        "short",
        Query('sum(up{job="$job"})', "up"),
        [(GREEN, 1)],
        decimals=0,
        no_value="none",
        width=2,
    ),
    stat(
        "of",
        "Number of instances that Prometheus should scrape.",
        "short",
        Query('count(up{job="$job"})', "instances"),
        decimals=0,
        no_value="none",
        width=2,
    ),
    stat(
        "Errors, 5 min",
        "Share of the API's responses of the last 5 minutes that are 5xx. Responses 401, 403 and 429 are not counted. "
        "The objective allows 0.1 %.",
        "percentunit",
        Query(error_share("[5m]"), "errors"),
        [(YELLOW, 0.0001), (RED, 0.001)],
        decimals=2,
        no_value=NO_TRAFFIC,
    ),
    stat(
        "p99 of posts, 5 min",
        "99 % of the requests POST /v1/transaction to the slowest instance took at most this long.",
        "s",
        Query(
            "max(histogram_quantile(0.99, sum by (le, instance) "
            f"(rate(saldo_http_request_duration_seconds_bucket{{@,{POST}}}[5m]))) >= 0)",
            "p99",
        ),
        [(YELLOW, 0.1), (RED, 0.25)],
        decimals=2,
        no_value=IDLE,
    ),
    stat(
        "Posted",
        "Transactions posted per second, without replays.",
        "ops",
        Query(f"{POSTED} or vector(0)", "posted"),
        decimals=2,
    ),
    stat(
        "Refused share",
        "Share of the decided transactions that were refused, without replays.",
        "percentunit",
        Query(f"({REFUSED} or vector(0)) / ({DECIDED} > 0)", "refused"),
        decimals=2,
        no_value=IDLE,
    ),
    stat(
        "Fullest queue",
        "Waiting requests as a share of the admission limit, of the instance with the highest share.",
        "percentunit",
        Query(
            "max(sum by (instance) (saldo_queue_requests{@}) "
            "/ sum by (instance) (saldo_queue_admission_limit_requests{@}))",
            "queue",
        ),
        [(YELLOW, 0.5), (RED, 0.8)],
        decimals=2,
        no_value="no instance",
    ),
    stat(
        "Busiest lanes",
        "Share of the lanes with a batch in flight, of the instance with the highest share.",
        "percentunit",
        Query(
            f"max(sum by (instance) (avg_over_time(saldo_lanes_busy{{@}}{RATE})) "
            "/ sum by (instance) (saldo_lanes{@}))",
            "lanes",
        ),
        [(YELLOW, 0.8), (RED, 0.95)],
        decimals=2,
        no_value="no instance",
    ),
    stat(
        "Worst sink",
        "Lag of the sink or webhook that is furthest behind: the age of its oldest event that is not confirmed, or of "
        "its oldest pending delivery.",
        "s",
        Query(
            "max(saldo_sink_seconds_behind{@} or saldo_webhook_oldest_pending_seconds{@})",
            "behind",
        ),
        [(YELLOW, 60), (RED, 900)],
        decimals=2,
        no_value="no sinks",
    ),
    stat(
        "Audit faults",
        "Faults that the audit found and that are not acknowledged. Each is an incident: see docs/howto/monitor.md.",
        "short",
        Query("max(saldo_audit_faults{@})", "faults"),
        [(RED, 1)],
        decimals=0,
        no_value="no database",
    ),
    stat(
        "Deposits per minute",
        "Sum of the posted deposits per minute, in units of the ledger's currency.",
        "none",
        Query(
            f'max(rate(saldo_ledger_amount_total{{@,type="deposit"}}{RATE})) * 60 or vector(0)',
            "deposits",
        ),
        decimals=2,
    ),
    stat(
        "Withdrawals per minute",
        "Sum of the posted withdrawals per minute, in units of the ledger's currency.",
        "none",
        Query(
            f'max(rate(saldo_ledger_amount_total{{@,type="withdrawal"}}{RATE})) * 60 or vector(0)',
            "withdrawals",
        ),
        decimals=2,
    ),
    stat(
        "Reached from outside",
        "Whether the probe got a successful response from /healthz/ready. It needs the blackbox exporter.",
        "short",
        Query('min(probe_success{job="saldo-probe"})', "reached"),
        [(GREEN, 1)],
        decimals=0,
        no_value="no probe",
        names=YES_NO,
        exporter="blackbox",
    ),
    stat(
        "Database up",
        "Whether the database responded to all instances at the last scrape.",
        "short",
        Query("min(saldo_database_up{@})", "up"),
        [(GREEN, 1)],
        decimals=0,
        no_value="no instance",
        names=YES_NO,
    ),
    stat(
        "Error budget left, 30 days",
        "Share of the error budget of 30 days that is left. It is negative if the objective of 99.9 % is missed. "
        "Prometheus must keep 35 days of data.",
        "percentunit",
        Query(budget_left(error_share("[30d]"), 0.001), "left"),
        [(YELLOW, 0), (GREEN, 0.25)],
        decimals=2,
        no_value=NO_TRAFFIC,
    ),
    stat(
        "Latency budget left, 30 days",
        "Share of the latency budget of 30 days that is left. It is negative if the objective of 99 % within 250 ms is "
        "missed.",
        "percentunit",
        Query(budget_left(slow_share("[30d]"), 0.01), "left"),
        [(YELLOW, 0), (GREEN, 0.25)],
        decimals=2,
        no_value=NO_TRAFFIC,
    ),
    stat(
        "Responses without error, 1 h",
        "Share of the API's responses that are not 5xx. Responses 401, 403 and 429 are not counted. The objective is "
        "99.9 %. The value is 0 while no instance is up.",
        "percentunit",
        Query(zero_while_down(f"1 - {error_share('[1h]')}"), "good"),
        [(YELLOW, 0.99), (GREEN, 0.999)],
        decimals=2,
        no_value=NO_TRAFFIC,
    ),
    stat(
        "Posts within 250 ms, 1 h",
        "Share of the requests POST /v1/transaction that take at most 250 ms. The objective is 99 %. The value is 0 "
        "while no instance is up.",
        "percentunit",
        Query(zero_while_down(f"1 - ({slow_share('[1h]')})"), "fast"),
        [(YELLOW, 0.95), (GREEN, 0.99)],
        decimals=2,
        no_value=NO_TRAFFIC,
    ),
    timeline(
        "Instances",
        "Whether Prometheus can scrape each instance.",
        Query('up{job="$job"}', "{{instance}}"),
        UP_DOWN,
    ),
    Panel(
        "Money flow",
        "Sum of the posted deposits and withdrawals per minute, in units of the ledger's currency. The relay's process "
        "counts them along the log, every few seconds.",
        "none",
        [Query(FLOW, "{{type}}s")],
        decimals=2,
        colours=DIRECTION_COLOURS,
    ),
    Panel(
        "p99 of posts by instance",
        "99 % of the requests POST /v1/transaction to the instance took at most this long. The line is the objective.",
        "s",
        quantiles("saldo_http_request_duration_seconds", POST, (0.99,)),
        steps=[(RED, 0.25)],
    ),
]

REQUESTS = [
    Panel(
        "Requests by route",
        "Requests per second.",
        "reqps",
        [
            Query(
                f"sum by (method, route) (rate(saldo_http_requests_total{{@}}{RATE}))",
                "{{method}} {{route}}",
            )
        ],
        stacked=True,
    ),
    Panel(
        "Responses by status",
        "Responses of the API per second. 402, 404, 409 and 422 are normal outcomes, not errors of the service.",
        "reqps",
        [
            Query(
                f'sum by (status) (rate(saldo_http_requests_total{{@,route=~"/v1/.*"}}{RATE}))',
                "{{status}}",
            )
        ],
        stacked=True,
        colours=STATUS_COLOURS,
    ),
    Panel(
        "Errors",
        "Share of the API's responses that are 5xx. Responses 401, 403 and 429 are not counted. The line "
        "is the objective.",
        "percentunit",
        [Query(error_share(RATE, "@"), "errors")],
        steps=[(RED, 0.001)],
    ),
    Panel(
        "Requests rejected by authentication or rate limit",
        "Responses per second: 401 without a valid key or token, 403 without the necessary scope, 429 "
        "above the rate limit.",
        "reqps",
        [
            Query(
                "sum by (status) "
                f'(rate(saldo_http_requests_total{{@,route=~"/v1/.*",status=~"401|403|429"}}{RATE}))',
                "{{status}}",
            )
        ],
        stacked=True,
        colours={"401": YELLOW, "403": PURPLE, "429": ORANGE},
    ),
    Panel(
        "Closed connections of slow clients",
        "Connections per second that were closed because the client was too slow, by what the service waited for.",
        "ops",
        [
            Query(
                f"sum by (phase) (rate(saldo_http_connection_timeouts_total{{@}}{RATE}))",
                "{{phase}}",
            )
        ],
    ),
    Panel(
        "Latency of POST /v1/transaction",
        "Time from the request's headers to its response, which follows the commit. The line is the "
        "objective for the p99.",
        "s",
        quantiles("saldo_http_request_duration_seconds", POST),
        steps=[(RED, 0.25)],
    ),
    Panel(
        "Latency of POST /v1/transaction, distribution",
        "Requests by duration. A darker cell has more requests.",
        "s",
        [
            Query(
                f"sum by (le) (rate(saldo_http_request_duration_seconds_bucket{{@,{POST}}}{RATE}))",
                "{{le}}",
            )
        ],
        "heatmap",
    ),
    Panel(
        "p99 latency by route",
        "Clients determine how long bulk requests last. The live stream is not included.",
        "s",
        [
            Query(
                "histogram_quantile(0.99, sum by (le, method, route) "
                f"(rate(saldo_http_request_duration_seconds_bucket{{@}}{RATE})))",
                "{{method}} {{route}}",
            )
        ],
    ),
    Panel(
        "Burn rate of the error budget",
        "Rate at which the error budget of 30 days is used up; at 1 it lasts exactly 30 days. An alert pages at 14.4 "
        "over 1 hour and 5 minutes, or at 6 over 6 hours and 30 minutes.",
        "none",
        [Query(f"{error_share(f'[{window}]')} / 0.001", window) for window in ("5m", "1h", "6h")],
        steps=[(YELLOW, 1), (RED, 14.4)],
        width=12,
    ),
    Panel(
        "Burn rate of the latency budget",
        "Rate at which the budget of 30 days for POST /v1/transaction over 250 ms is used up.",
        "none",
        [Query(f"({slow_share(f'[{window}]')}) / 0.01", window) for window in ("5m", "1h", "6h")],
        steps=[(YELLOW, 1), (RED, 14.4)],
        width=12,
    ),
]

ENGINE = [
    Panel(
        "Posted transactions",
        "Transactions posted per second by instance, without replays.",
        "ops",
        [
            Query(
                "sum by (instance) (rate("
                f'saldo_transactions_total{{@,outcome="posted",replayed="false"}}{RATE}))',
                "{{instance}}",
            )
        ],
    ),
    Panel(
        "Refused transactions",
        "Transactions refused per second, by reason, without replays.",
        "ops",
        [
            Query(
                f'sum by (outcome) (rate(saldo_transactions_total{{@,outcome!="posted",replayed="false"}}{RATE}))',
                "{{outcome}}",
            )
        ],
        stacked=True,
        colours=OUTCOME_COLOURS,
    ),
    Panel(
        "Replays",
        "Responses per second to retries: the uuid was already recorded.",
        "ops",
        [
            Query(
                f'sum by (outcome) (rate(saldo_transactions_total{{@,replayed="true"}}{RATE}))',
                "{{outcome}}",
            )
        ],
    ),
    Panel(
        "Queue, share of the admission limit",
        "Waiting requests as a share of the admission limit. The limit falls when batches are slow, so that no request "
        "waits longer than SALDO_QUEUE_WAIT_SECONDS_MAX. At the limit, requests are rejected.",
        "percentunit",
        [
            Query(
                "sum by (instance) (saldo_queue_requests{@}) "
                "/ sum by (instance) (saldo_queue_admission_limit_requests{@})",
                "{{instance}}",
            )
        ],
        steps=[(YELLOW, 0.5), (RED, 0.8)],
    ),
    Panel(
        "Requests in the queue",
        "Requests that wait for their outcome, and the admission limit.",
        "short",
        [
            Query("sum by (instance) (saldo_queue_requests{@})", "{{instance}}, waiting"),
            Query(
                "sum by (instance) (saldo_queue_admission_limit_requests{@})",
                "{{instance}}, limit",
            ),
        ],
    ),
    Panel(
        "Lanes with a batch in flight",
        "Share of all lanes. If it is always 1, the database is the bottleneck.",
        "percentunit",
        [
            Query(
                f"sum by (instance) (avg_over_time(saldo_lanes_busy{{@}}{RATE})) "
                "/ sum by (instance) (saldo_lanes{@})",
                "{{instance}}",
            )
        ],
        maximum=1,
    ),
    Panel(
        "Client connections",
        "Open connections as a share of SALDO_CONNECTIONS_MAX of all workers. At the limit, new "
        "connections get 503 and "
        "are closed.",
        "percentunit",
        [
            Query(
                "sum by (instance) (saldo_http_connections{@}) "
                "/ sum by (instance) (saldo_http_connections_limit{@})",
                "{{instance}}",
            )
        ],
        steps=[(YELLOW, 0.5), (RED, 0.8)],
    ),
    Panel(
        "Wait in the queue",
        "Waiting time of the oldest request of each batch.",
        "s",
        quantiles("saldo_queue_wait_seconds"),
    ),
    Panel(
        "Batch to commit",
        "Time from sending a batch to its commit, which is the database's part of the latency.",
        "s",
        quantiles("saldo_batch_duration_seconds"),
    ),
    Panel(
        "Requests per batch",
        "Batches grow with the load of the database, up to SALDO_BATCH_REQUESTS_MAX.",
        "short",
        [
            # Quantiles are interpolated within buckets: batches of one request would have a quantile below 1.
            *(
                Query(f"clamp_min({each.expression}, 1)", each.legend)
                for each in quantiles("saldo_batch_requests", quantiles=(0.99,))
            ),
            Query(
                f"sum(rate(saldo_batch_requests_sum{{@}}{RATE})) / sum(rate(saldo_batch_requests_count{{@}}{RATE}))",
                "mean",
            ),
        ],
    ),
    Panel(
        "Rejected because the queue was full",
        "Transactions per second that were rejected with 503 at once.",
        "reqps",
        [Query(f"sum by (instance) (rate(saldo_requests_shed_total{{@}}{RATE}))", "{{instance}}")],
        steps=[(RED, 0.01)],
    ),
    Panel(
        "Batches",
        "Batches sent per second.",
        "ops",
        [Query(f"sum by (instance) (rate(saldo_batch_requests_count{{@}}{RATE}))", "{{instance}}")],
    ),
    Panel(
        "Batch retries and new connections",
        "Events per second. Both mean that a connection to the database was lost.",
        "ops",
        [
            Query(f"sum(rate(saldo_batch_resends_total{{@}}{RATE}))", "batch retries"),
            Query(f"sum(rate(saldo_lane_connects_total{{@}}{RATE}))", "connections"),
        ],
    ),
]

DATABASE = [
    Panel(
        "Round trip",
        "Duration of SELECT 1 at the scrape. It is absent while the database does not respond.",
        "s",
        [Query("saldo_database_roundtrip_seconds{@}", "{{instance}}")],
        steps=[(YELLOW, 0.05)],
    ),
    timeline(
        "Database up",
        "Whether the database responded to each instance at the scrape.",
        Query("saldo_database_up{@}", "{{instance}}"),
        UP_DOWN,
    ),
    Panel(
        "Pool connections in use",
        "Connections in use as a share of the pool's limit, by pool and instance. At the limit, requests wait.",
        "percentunit",
        [
            Query(
                'sum by (pool, instance) (saldo_pool_connections{@,state="used"}) '
                "/ sum by (pool, instance) (saldo_pool_connections_limit{@})",
                "{{pool}}, {{instance}}",
            )
        ],
        maximum=1,
        steps=[(YELLOW, 0.8)],
    ),
    Panel(
        "Requests that wait for a connection",
        "Requests that wait for a connection of a pool, by pool and instance.",
        "short",
        [
            Query(
                "sum by (pool, instance) (saldo_pool_waiting_requests{@})",
                "{{pool}}, {{instance}}",
            )
        ],
    ),
    Panel(
        "Sessions waiting for a lock",
        "Sessions of the database that wait for a lock. Those of other roles are counted only if Saldo's role is a "
        "member of pg_read_all_stats.",
        "short",
        [Query("max(saldo_database_waiting_sessions{@})", "waiting")],
    ),
    Panel(
        "Longest transaction",
        "Age of the oldest open transaction of the database. A long statement or a forgotten session holds locks and "
        "delays vacuum.",
        "s",
        [Query("max(saldo_database_longest_transaction_seconds{@})", "age")],
        steps=[(YELLOW, 600)],
    ),
    Panel(
        "Replica lag",
        "Lag of the read replica, from the last transaction that it has replayed. The line is the threshold of the "
        "alert. It is absent without SALDO_DATABASE_REPLICA_URL.",
        "s",
        [Query("max(saldo_replica_lag_seconds{@})", "lag")],
        steps=[(RED, 60)],
    ),
    Panel(
        "WAL archive",
        "Archived WAL files and failed attempts in 10 minutes. It is absent if the server does not archive its WAL.",
        "short",
        [
            Query("max(increase(saldo_wal_archived_files_total{@}[10m]))", "archived"),
            Query("max(increase(saldo_wal_archive_failures_total{@}[10m]))", "failures"),
        ],
        colours={"archived": GREEN, "failures": RED},
    ),
    Panel(
        "Age of the last backup",
        "Time since the last successful backup. The job that takes the backup writes the metric for the node exporter.",
        "s",
        [Query("time() - max(saldo_backup_last_success_timestamp_seconds)", "age")],
        steps=[(RED, 26 * 3600)],
        exporter="node",
    ),
    Panel(
        "Connections of the server",
        "Connections of all clients by state, and max_connections. It needs the PostgreSQL exporter.",
        "short",
        [
            Query("sum by (state) (pg_stat_activity_count)", "{{state}}"),
            Query("max(pg_settings_max_connections)", "limit"),
        ],
        exporter="postgres",
    ),
    Panel(
        "Data disk, free",
        "Free share of the disk with the embedded server's data directory. It is absent without the embedded server.",
        "percentunit",
        [Query("saldo_data_disk_free_bytes{@} / saldo_data_disk_size_bytes{@}", "{{instance}}")],
        maximum=1,
    ),
    Panel(
        "Data disk",
        "Free and total bytes of the disk with the embedded server's data directory.",
        "bytes",
        [
            Query("saldo_data_disk_free_bytes{@}", "{{instance}}, free"),
            Query("saldo_data_disk_size_bytes{@}", "{{instance}}, size"),
        ],
    ),
    Panel(
        "Reads that a replica may answer",
        "Reads per second by the server that answered. The primary's share grows if the replica lags or is "
        "unavailable. It is absent without SALDO_DATABASE_REPLICA_URL.",
        "reqps",
        [
            Query(
                "sum by (answered_by) (rate(saldo_replica_reads_total{@}[$__rate_interval]))",
                "{{answered_by}}",
            )
        ],
        stacked=True,
    ),
]

RELAY = [
    Panel(
        "Lag in seconds",
        "Age of the oldest event that the sink has not confirmed. The lines are the thresholds of the alerts.",
        "s",
        [Query("max by (sink) (saldo_sink_seconds_behind{@})", "{{sink}}")],
        steps=[(YELLOW, 60), (RED, 1800)],
    ),
    Panel(
        "Lag in events",
        "Events that the sink has not confirmed.",
        "short",
        [Query("max by (sink) (saldo_sink_events_behind{@})", "{{sink}}")],
    ),
    timeline(
        "Sinks blocked by the broker",
        "Whether RabbitMQ accepts no messages from the relay, because it is low on memory or disk space. "
        "RabbitMQ does not "
        "report this for streams.",
        Query("max by (sink) (saldo_sink_blocked{@})", "{{sink}}"),
        NO_YES,
    ),
    timeline(
        "Sinks with an active relay",
        "Whether a relay holds the sink's lease. A disabled webhook has no relay.",
        Query("max by (sink) (saldo_sink_active{@})", "{{sink}}"),
        YES_NO,
    ),
    Panel(
        "Events confirmed",
        "Events per second. An event that is published again is counted again.",
        "ops",
        [Query(f"max by (sink) (rate(saldo_sink_events_published_total{{@}}{RATE}))", "{{sink}}")],
    ),
    Panel(
        "Events without a receiver",
        "Events per second that the exchange could not route to a queue, or that do not match the webhook's filter.",
        "ops",
        [Query(f"max by (sink) (rate(saldo_sink_events_unrouted_total{{@}}{RATE}))", "{{sink}}")],
    ),
    Panel(
        "Sink failures",
        "Failures in 10 minutes. The line is the threshold of the alert. The log and `saldo relay status` "
        "show the reason.",
        "short",
        [Query("max by (sink) (increase(saldo_sink_failures_total{@}[10m]))", "{{sink}}")],
        steps=[(RED, 3)],
    ),
    Panel(
        "Messages in the broker",
        "Messages in all queues of RabbitMQ: ready for consumers, or delivered and not acknowledged. It needs "
        "RabbitMQ's own exporter.",
        "short",
        [
            Query("sum(rabbitmq_queue_messages_ready)", "ready"),
            Query("sum(rabbitmq_queue_messages_unacked)", "unacknowledged"),
        ],
        exporter="rabbitmq",
    ),
    Panel(
        "Webhook delivery attempts",
        "Attempts per second, by outcome.",
        "ops",
        [
            Query(
                f"max by (webhook, outcome) (rate(saldo_webhook_attempts_total{{@}}{RATE}))",
                "webhook {{webhook}}, {{outcome}}",
            )
        ],
    ),
    Panel(
        "Pending and dead webhook deliveries",
        "Pending deliveries are retried. Dead deliveries are not, until they are replayed.",
        "short",
        [
            Query(
                "max by (webhook, state) (saldo_webhook_deliveries{@})",
                "webhook {{webhook}}, {{state}}",
            )
        ],
    ),
    Panel(
        "Oldest pending webhook delivery",
        "Age of the oldest pending delivery. A failing webhook has no lag, because its events become "
        "pending. The line is "
        "the threshold of the alert.",
        "s",
        [
            Query(
                "max by (webhook) (saldo_webhook_oldest_pending_seconds{@})", "webhook {{webhook}}"
            )
        ],
        steps=[(RED, 900)],
    ),
    timeline(
        "Disabled webhooks",
        "Whether the webhook is disabled, so that no events are sent to it.",
        Query("max by (webhook) (saldo_webhook_disabled{@})", "webhook {{webhook}}"),
        NO_YES,
    ),
    Panel(
        "Live stream subscribers",
        "Open streams of GET /v1/events, of all instances.",
        "short",
        [Query("sum(saldo_events_subscribers{@})", "subscribers")],
        width=12,
    ),
    Panel(
        "Disconnected subscribers",
        "Subscribers per second that were disconnected because they read too slowly. They can resume.",
        "ops",
        [Query(f"sum(rate(saldo_events_subscribers_dropped_total{{@}}{RATE}))", "disconnected")],
        width=12,
    ),
]

BUSINESS = [
    stat(
        "Users",
        "Users of the ledger.",
        "short",
        Query("max(saldo_ledger_users{@})", "users"),
    ),
    stat(
        "Sum of all balances",
        "Sum in units of the ledger's currency, shown with two decimals.",
        "none",
        Query("max(saldo_ledger_balance{@})", "balance"),
        decimals=2,
    ),
    stat(
        "Entries posted",
        "Posted deposits and withdrawals since the ledger was created.",
        "short",
        Query('max(saldo_ledger_entries{@,outcome="posted"})', "posted"),
    ),
    stat(
        "Entries refused",
        "Refused transactions since the ledger was created.",
        "short",
        Query('max(saldo_ledger_entries{@,outcome="refused"})', "refused"),
    ),
    stat(
        "Lag of the totals",
        "Age of the oldest entry that is not counted yet.",
        "s",
        Query("max(saldo_ledger_seconds_behind{@})", "behind"),
        [(YELLOW, 60), (RED, 300)],
    ),
    Panel(
        "Oldest entry without a seal",
        "Age of the oldest entry without a seal. It grows during bulk requests. The line is the threshold "
        "of the alert.",
        "s",
        [Query("max(saldo_seals_seconds_behind{@})", "age")],
        steps=[(YELLOW, 60), (RED, 300)],
        width=12,
    ),
    Panel(
        "Entries sealed",
        "Entries per second.",
        "ops",
        [Query(f"max(deriv(saldo_sealed_entries{{@}}{RATE}))", "sealed")],
        width=12,
    ),
    Panel(
        "Sum of all balances",
        "Sum in units of the ledger's currency, shown with two decimals.",
        "none",
        [Query("max(saldo_ledger_balance{@})", "balance")],
        decimals=2,
    ),
    Panel(
        "Entries recorded and counted",
        "Entries per second, recorded by the selected instances and counted by the background reader. The other totals "
        "of this row come from that reader. Under heavy load it falls behind and catches up later.",
        "ops",
        [
            Query(
                "sum(rate(saldo_transactions_total"
                f'{{@,replayed="false",outcome=~"posted|insufficient_funds|balance_above_maximum"}}{RATE}))',
                "recorded",
            ),
            Query(
                f"max by (outcome) (deriv(saldo_ledger_entries{{@}}{RATE}))",
                "counted, {{outcome}}",
            ),
        ],
    ),
    Panel(
        "Refused share",
        "Share of the decided transactions that were refused, by reason, without replays.",
        "percentunit",
        [
            Query(
                f'sum by (outcome) (rate(saldo_transactions_total{{@,outcome!="posted",replayed="false"}}{RATE})) '
                f'/ ignoring (outcome) group_left sum(rate(saldo_transactions_total{{@,replayed="false"}}{RATE}))',
                "{{outcome}}",
            )
        ],
        stacked=True,
        colours=OUTCOME_COLOURS,
    ),
    Panel(
        "Audit",
        "Share of the shards that the current round has audited. A new round begins when all shards are audited.",
        "percentunit",
        [Query("max(saldo_audit_round_progress_ratio{@})", "current round")],
        maximum=1,
    ),
    Panel(
        "Last complete audit",
        "Time since the audit last completed the whole ledger.",
        "s",
        [Query("max(saldo_audit_round_age_seconds{@})", "age")],
    ),
    Panel(
        "Entries audited",
        "Entries per second that the background audit checks. It is slower while transactions are posted.",
        "ops",
        [Query(f"max(rate(saldo_audit_entries_total{{@}}{RATE}))", "entries")],
    ),
]

PROCESS = [
    Panel(
        "CPU",
        "CPU cores in use by all processes of an instance, and by the relay's process alone.",
        "none",
        [
            Query(
                f"sum by (instance) (rate(process_cpu_seconds_total{{@}}{RATE}))", "{{instance}}"
            ),
            Query(
                f'sum by (instance) (rate(process_cpu_seconds_total{{@,process="relay"}}{RATE}))',
                "{{instance}}, relay",
            ),
        ],
    ),
    Panel(
        "Memory",
        "Resident memory of all processes of an instance, and of the relay's process alone. Shared pages are counted "
        "for each process.",
        "bytes",
        [
            Query("sum by (instance) (process_resident_memory_bytes{@})", "{{instance}}"),
            Query(
                'sum by (instance) (process_resident_memory_bytes{@,process="relay"})',
                "{{instance}}, relay",
            ),
        ],
    ),
    Panel(
        "Event loop lag",
        "Lag of the event loop of the slowest worker. It delays each response of that worker.",
        "s",
        [Query("max by (instance) (saldo_event_loop_lag_seconds{@})", "{{instance}}")],
        steps=[(YELLOW, 0.05), (RED, 0.25)],
    ),
    Panel(
        "Open files",
        "Open files of all processes of an instance, including connections, and of the relay's process alone.",
        "short",
        [
            Query("sum by (instance) (process_open_fds{@})", "{{instance}}"),
            Query('sum by (instance) (process_open_fds{@,process="relay"})', "{{instance}}, relay"),
        ],
    ),
    Panel(
        "Uptime",
        "Seconds since the last start of a worker of the instance.",
        "s",
        [
            Query(
                'time() - max by (instance) (process_start_time_seconds{@,process!="relay"})',
                "{{instance}}",
            )
        ],
    ),
    Panel(
        "Certificate",
        "Time until the TLS certificate of the instance expires. It is absent without TLS. The lines are the "
        "thresholds of the alerts.",
        "s",
        [
            Query(
                "min by (instance) (saldo_tls_certificate_expiry_timestamp_seconds{@}) - time()",
                "{{instance}}",
            )
        ],
        steps=[(YELLOW, 2 * 86400), (GREEN, 14 * 86400)],
    ),
    Panel(
        "Versions",
        "Instances by version of Saldo and of Python.",
        "short",
        [
            Query(
                "count by (version, python) (saldo_build_info{@})",
                "Saldo {{version}}, Python {{python}}",
            )
        ],
        stacked=True,
    ),
]

ROWS: Mapping[str, Sequence[Panel]] = {
    "Overview": OVERVIEW,
    "Requests": REQUESTS,
    "Engine": ENGINE,
    "Database": DATABASE,
    "Relay and webhooks": RELAY,
    "Business figures": BUSINESS,
    "Process": PROCESS,
}


def dashboard() -> dict[str, Any]:
    """Return the dashboard in Grafana's data model."""
    ids = count(1)
    panels: list[dict[str, Any]] = []
    top = 0
    for title, row in ROWS.items():
        is_collapsed = bool(panels)  # all rows but the first, so that only its queries run at first
        position = {"x": 0, "y": top, "w": COLUMNS, "h": 1}
        made_row = {"id": next(ids), "type": "row", "title": title, "collapsed": is_collapsed}
        made_panels, top = _place(row, top + 1, ids)
        if is_collapsed:
            panels.append(made_row | {"gridPos": position, "panels": made_panels})
        else:
            panels += [made_row | {"gridPos": position, "panels": []}, *made_panels]
    return {
        "uid": "saldo",
        "title": "Saldo",
        "description": "Generated by deploy/grafana/dashboard.py: change it there.",
        "tags": ["saldo"],
        "schemaVersion": 39,
        "editable": False,
        "graphTooltip": 1,  # one crosshair for all panels
        "refresh": "30s",
        "time": {"from": "now-1h", "to": "now"},
        "timezone": "browser",
        "links": [_link("Runbooks", RUNBOOK_URL), _link("Console", CONSOLE_URL)],
        "templating": {"list": _variables()},
        "annotations": {"list": [_annotation()]},
        "panels": panels,
    }


def _place(row: Sequence[Panel], top: int, ids: Iterator[int]) -> tuple[list[dict[str, Any]], int]:
    """Return the panels of a row at their positions, and the line below them."""
    panels: list[dict[str, Any]] = []
    left, height = 0, 0
    for panel in row:
        if left + panel.width > COLUMNS:
            left, top, height = 0, top + height, 0
        position = {"x": left, "y": top, "w": panel.width, "h": panel.height}
        panels.append({"id": next(ids), "gridPos": position} | _panel(panel))
        left += panel.width
        height = max(height, panel.height)
    return panels, top + height


def text() -> str:
    """Return the content of the file."""
    return json.dumps(dashboard(), indent=2, ensure_ascii=False) + "\n"


def _panel(panel: Panel) -> dict[str, Any]:
    formats = {"heatmap": "heatmap"}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.description,
        "datasource": _datasource(),
        "targets": [
            {
                "refId": chr(ord("A") + index),
                "expr": query.text,
                "legendFormat": query.legend,
                "format": formats.get(panel.kind, "time_series"),
                "instant": panel.kind == "stat",
                "range": panel.kind != "stat",
            }
            for index, query in enumerate(panel.queries)
        ],
        "fieldConfig": {"defaults": _field(panel), "overrides": _overrides(panel)},
        "options": _options(panel),
    }


def _field(panel: Panel) -> dict[str, Any]:
    # Thresholds of a value that should be high contain green, and the value is red below them.
    lowest = RED if any(colour == GREEN for colour, _ in panel.steps) else GREEN
    steps: list[dict[str, Any]] = [{"color": lowest, "value": None}]
    steps += [{"color": colour, "value": value} for colour, value in panel.steps]
    defaults: dict[str, Any] = {
        "unit": panel.unit,
        "thresholds": {"mode": "absolute", "steps": steps},
    }
    if panel.decimals is not None:
        defaults["decimals"] = panel.decimals
    if panel.no_value is not None:
        # Without this, a missing value has the colour of the lowest step, which is red.
        defaults["noValue"] = panel.no_value
        empty = {"match": "null+nan", "result": {"text": panel.no_value, "color": "text"}}
        defaults["mappings"] = [{"type": "special", "options": empty}]
    if panel.names:
        options = {
            value: {"text": name, "color": colour} for value, (name, colour) in panel.names.items()
        }
        defaults.setdefault("mappings", []).append({"type": "value", "options": options})
    if panel.kind == "timeseries":
        defaults["min"] = 0
        defaults["custom"] = {
            "fillOpacity": 25 if panel.stacked else 0,
            "showPoints": "never",
            "stacking": {"mode": "normal" if panel.stacked else "none", "group": "A"},
            "thresholdsStyle": {"mode": "line" if panel.steps else "off"},
        }
    if panel.maximum is not None:
        defaults["max"] = panel.maximum
    return defaults


def _options(panel: Panel) -> dict[str, Any]:
    match panel.kind:
        case "stat":
            return {
                "colorMode": "value" if panel.steps else "none",
                "graphMode": "none",
                "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
            }
        case "heatmap":
            return {
                "calculate": False,
                "cellGap": 1,
                "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64},
                "yAxis": {"unit": panel.unit},
                "tooltip": {"mode": "single", "yHistogram": False},
                "legend": {"show": True},
            }
        case "timeseries":
            return {
                "legend": {
                    "displayMode": "table",
                    "placement": "bottom",
                    "showLegend": True,
                    "calcs": ["mean", "max"],
                },
                "tooltip": {"mode": "multi", "sort": "desc"},
            }
        case "state-timeline":
            return {
                "mergeValues": True,
                "showValue": "auto",
                "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
                "tooltip": {"mode": "single"},
            }


def _link(title: str, url: str) -> dict[str, Any]:
    return {
        "title": title,
        "type": "link",
        "icon": "external link",
        "url": url,
        "targetBlank": True,
    }


def _overrides(panel: Panel) -> list[dict[str, Any]]:
    """Return the colours of the series that have fixed ones."""
    return [
        {
            "matcher": {"id": "byRegexp", "options": f"/^{pattern}/"},
            "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": colour}}],
        }
        for pattern, colour in panel.colours.items()
    ]


def _variables() -> list[dict[str, Any]]:
    return [
        {"name": "datasource", "label": "Data source", "type": "datasource", "query": "prometheus"},
        _values("job", "Job", "label_values(saldo_build_info, job)", several=False),
        _values(
            "instance",
            "Instance",
            'label_values(saldo_build_info{job="$job"}, instance)',
            several=True,
        ),
    ]


def _values(name: str, label: str, query: str, *, several: bool) -> dict[str, Any]:
    variable: dict[str, Any] = {
        "name": name,
        "label": label,
        "type": "query",
        "datasource": _datasource(),
        "query": {"query": query, "refId": "values"},
        "refresh": 2,  # whenever the time range changes
        "sort": 1,
        "includeAll": several,
        "multi": several,
    }
    if several:
        variable |= {"allValue": ".*", "current": {"text": ["All"], "value": ["$__all"]}}
    return variable


def _annotation() -> dict[str, Any]:
    """Return the annotation that marks firing alerts in every graph."""
    return {
        "name": "Alerts",
        "enable": True,
        "iconColor": RED,
        "datasource": _datasource(),
        "expr": 'ALERTS{alertname=~"Saldo.+",alertstate="firing",job="$job"}',
        "titleFormat": "{{alertname}}",
        "textFormat": "{{instance}} {{sink}} {{webhook}}",
        "step": "60s",
    }


def _datasource() -> dict[str, str]:
    return {"type": "prometheus", "uid": "${datasource}"}


if __name__ == "__main__":
    PATH.write_text(text())
