"""Dashboards and alerts in a real Prometheus, with a healthy service and with broken ones."""

from __future__ import annotations

import asyncio
import math
import os
import re
import shlex
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest
import yaml

from deploy.grafana.dashboard import ROWS
from harness.events.rabbitmq import run_broker
from harness.events.webhook_receiver import run_receiver
from harness.mixed_load import PACE_SECONDS, post, run_load
from harness.program import forks
from harness.program.service import run_service_process
from harness.prometheus import (
    METRICS_KEY,
    POLL_SECONDS,
    SHIPPED,
    Prometheus,
    has_value,
    run_prometheus,
    substitute_variables,
)
from saldo.bootstrap.heads import create_private_key
from saldo.store.embedded import EmbeddedServer
from saldo.store.statements import load_statement
from tests.deploy import refusals

QUICK = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_ALLOW_HTTP": "true",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.1",
    "SALDO_RELAY_LEASE_SECONDS": "1",
}

OVERLOADED = {
    *("SaldoQueueNearlyFull", "SaldoRequestsShed"),
    *("SaldoErrorBudgetBurnsFast", "SaldoErrorBudgetBurnsSlowly"),
}
"""Alerts of an overloaded service."""

SLOW = {
    *("SaldoLatencyBudgetBurnsFast", "SaldoLatencyBudgetBurnsSlowly"),
    "SaldoEventLoopLags",
}

JOB = "ledger-prod"

ABSENT = {"Certificate", "WAL archive"}
"""Panels without data in a service without TLS on a server without an archive."""

ABSENT_METRICS = {
    "saldo_tls_certificate_expiry_timestamp_seconds",
    *("saldo_wal_archive_failures_total", "saldo_wal_archived_files_total"),
    "saldo_backup_last_success_timestamp_seconds",
}
"""Metrics of alerts that need TLS, a WAL archive, or the operator's backup (docs/howto/monitor.md)."""

HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "monitor.md"

WRONG_ENTRY = """
INSERT INTO saldo.transactions
SELECT (jsonb_populate_record(t, jsonb_build_object(
    'seq', t.seq + 1, 'number', t.number + 1, 'uuid', gen_random_uuid(), 'balance', t.balance + t.amount + 1
))).*
FROM saldo.transactions AS t WHERE t.user_id = %s ORDER BY t.number DESC LIMIT 1
"""
"""A query that inserts another deposit of the same amount, and a cent more in the balance."""


def on(server: EmbeddedServer) -> dict[str, str]:
    """Return the settings of a service on this server."""
    return {
        "SALDO_DATABASE_URL": server.service_role_url,
        "SALDO_DATABASE_OWNER_URL": server.owner_role_url,
    }


async def test_every_panel_shows_something(
    tmp_path: Path, prometheus_program: str, request: pytest.FixtureRequest
) -> None:
    """Run on the embedded server with every metric that exists; those of the broker only if there is one.

    The job has another name than in the shipped configuration: an operator's own Prometheus needs no edits.
    """
    brokers = {
        "SALDO_RABBITMQ_URL": request.getfixturevalue("rabbitmq_url"),
        "SALDO_RABBITMQ_EXCHANGE": f"saldo-{tmp_path.name}",
        "SALDO_RABBITMQ_STREAM_URL": request.getfixturevalue("rabbitmq_stream_url"),
        "SALDO_RABBITMQ_STREAM": f"saldo-{tmp_path.name}",
    }

    # Any server with the same entries can be the replica; here the embedded server is its own.
    replica = {"SALDO_DATABASE_REPLICA_URL": EmbeddedServer(tmp_path / "data").service_role_url}

    create_private_key(tmp_path / "seals.pem")
    (tmp_path / "heads").mkdir()
    heads = {
        "SALDO_SEALS_KEY_FILE": str(tmp_path / "seals.pem"),
        "SALDO_SEALS_PUBLISH_DIR": str(tmp_path / "heads"),
    }

    def watch(webhook_url: str) -> None:
        with (
            run_service_process(
                tmp_path, **QUICK, **brokers, **replica, **heads, SALDO_WORKERS="2"
            ) as running,
            run_prometheus(prometheus_program, tmp_path, running.url, job_name=JOB) as watching,
            run_load(running.url),
        ):
            with httpx.Client(base_url=running.url) as client:
                for url in (webhook_url, "http://127.0.0.1:9/nobody"):
                    assert client.post("/v1/webhook", json={"url": url}).status_code == 201
            _wait_for_every_panel(watching)
            assert _metrics_of_the_rules() - ABSENT_METRICS <= watching.metrics()

    async with run_receiver() as receiver:
        await asyncio.to_thread(watch, receiver.url)


def _metrics_of_the_rules() -> set[str]:
    texts = [path.read_text() for path in (SHIPPED / "rules").glob("*.yml")]
    expressions = [
        rule["expr"]
        for text in texts
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]
    # Recorded metrics contain colons; all others must be spelt as the service exposes them.
    return set(re.findall(r"(?<![\w:])saldo_\w+(?![\w:])", "\n".join(expressions)))


def _wait_for_every_panel(watching: Prometheus) -> None:
    queries = {
        f"{panel.title}: {query.text}": substitute_variables(query.text, job_name=JOB)
        for row in ROWS.values()
        for panel in row
        for query in panel.queries
        # The job has no TLS, and the embedded server has no archive; see ABSENT. Exporters are not started here.
        if panel.exporter is None and panel.title not in ABSENT
    }

    def empty() -> list[str]:
        return [name for name, text in queries.items() if not has_value(watching.query(text))]

    watching.wait_for(lambda: not empty(), lambda: "no data:\n" + "\n".join(empty()))


@pytest.mark.long
def test_unavailable_database_fires_an_alert_until_it_is_back(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    impatient = {"SALDO_REQUEST_DEADLINE_SECONDS": "0.5", "SALDO_READ_TIMEOUT_SECONDS": "0.5"}
    with (
        run_service_process(tmp_path, **on(own_server), **impatient) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
        run_load(running.url),
    ):
        watching.wait_for(
            lambda: has_value(watching.query("job:saldo_errors:ratio_rate5m")), "objectives"
        )
        assert (
            not {"SaldoDatabaseDown", "SaldoErrorBudgetBurnsFast"} & watching.firing_alerts().keys()
        )
        own_server.stop()
        watching.wait_until_firing("SaldoDatabaseDown")
        watching.wait_until_firing("SaldoErrorBudgetBurnsFast")
        assert "SaldoDown" not in watching.firing_alerts()
        own_server.start()
        watching.wait_until_silent("SaldoDatabaseDown")


def test_stopped_service_fires_an_alert(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    with (
        run_service_process(tmp_path, **on(own_server), SALDO_METRICS_KEY=METRICS_KEY) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        watching.wait_for(lambda: has_value(watching.query("up{job='saldo'} == 1")), "a scrape")
        running.end(signal.SIGKILL)
        (labels,) = watching.wait_until_firing("SaldoDown")
        assert labels["job"] == "saldo"
        assert "SaldoInstanceDown" not in watching.firing_alerts()
        (instances,) = watching.query(substitute_variables(_query("Instances up")))
        assert instances.value == 0


@pytest.mark.long
def test_suspended_service_fires_alerts(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Suspend the process: the service answers no scrape then, and reports the lag afterwards."""
    with (
        run_service_process(tmp_path, **on(own_server)) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        watching.wait_for(
            lambda: has_value(watching.query("saldo_event_loop_lag_seconds")), "a scrape"
        )
        os.kill(running.process.pid, signal.SIGSTOP)
        try:
            watching.wait_until_firing("SaldoDown")
        finally:
            os.kill(running.process.pid, signal.SIGCONT)
        watching.wait_until_firing("SaldoEventLoopLags")
        watching.wait_until_silent("SaldoDown")
        watching.wait_until_silent("SaldoEventLoopLags")


@pytest.mark.long
def test_full_queue_fires_alerts(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Block all batches, so that the small queue fills soon."""
    with (
        run_service_process(tmp_path, **on(own_server), SALDO_QUEUE_REQUESTS_MAX="4") as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
        with (
            psycopg.connect(own_server.service_role_url) as connection,
            _post_continuously(running.url, user_id, clients=12),
        ):
            watching.wait_for(
                lambda: has_value(watching.query("saldo_requests_shed_total")), "a scrape"
            )
            connection.execute(load_statement("ledger/lock_all_shards"))
            for name in OVERLOADED:
                watching.wait_until_firing(name)
            # No alerts fire but those of waiting requests and of a busy machine.
            assert watching.firing_alerts().keys() <= OVERLOADED | SLOW | {"SaldoWatchdog"}
            (queue,) = watching.query(
                substitute_variables(_query("Queue, share of the admission limit"))
            )
            assert queue.value > 0.8
            (lanes,) = watching.query(substitute_variables(_query("Lanes with a batch in flight")))
            assert lanes.value > 0
            connection.rollback()
            watching.wait_until_silent("SaldoQueueNearlyFull")


@pytest.mark.long
def test_rejections_are_counted_by_kind_like_the_clients_see_them(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Compare the panels and the recorded objective with the answers that the clients got."""
    settings = on(own_server) | refusals.SETTINGS | {"SALDO_METRICS_KEY": METRICS_KEY}
    with (
        run_service_process(tmp_path, **settings) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        clients = refusals.RejectedClients(running.url, own_server.service_role_url)

        def scrape_counts() -> dict[int, float]:
            counts = watching.query(
                'sum by (status) (saldo_http_requests_total{job="saldo",route=~"/v1/.*"})'
            )
            return {int(each.labels["status"]): each.value for each in counts}

        def wait_until_scraped() -> None:
            watching.wait_for(
                lambda: scrape_counts() == clients.answers,
                lambda: f"{scrape_counts()}, clients got {clients.answers}",
            )

        # A rate begins with the first scraped value, so each kind of request is sent once before it counts.
        clients.ask(1)
        wait_until_scraped()
        before, codes_before = clients.answers.copy(), clients.codes.copy()
        clients.ask(20)
        wait_until_scraped()
        asked, codes = clients.answers - before, clients.codes - codes_before
        assert {401, 403, 429, 503} <= asked.keys()
        assert codes["crowded"] >= 20
        assert codes["overloaded"] >= 20
        assert codes["outcome_unknown"] + codes["deadline_exceeded"] >= 4, codes
        refused = sum(asked[status] for status in (401, 403, 429))
        share = asked[503] / (sum(asked.values()) - refused)

        def value(query: str) -> float:
            found = watching.query(substitute_variables(query, window="5m"))
            return found[0].value if found else math.nan

        # Rates are extrapolated to the ends of their window, and rules are evaluated once a second.
        near = pytest.approx(share, rel=0.1)
        for query in (
            "job:saldo_errors:ratio_rate5m",
            _query("Errors"),
            _query("Errors, 5 min"),
        ):
            watching.wait_for(
                lambda query=query: value(query) == near,  # type: ignore[misc]
                lambda query=query: f"{query}: {value(query)}, not {near}",  # type: ignore[misc]
                seconds_max=20,
            )
        good = value(_query("Responses without error, 1 h"))
        assert good == pytest.approx(1 - share, abs=0.1 * share)
        rates = watching.query(
            substitute_variables(
                _query("Requests rejected by authentication or rate limit"), window="5m"
            )
        )
        shares = {
            int(each.labels["status"]): each.value / sum(each.value for each in rates)
            for each in rates
        }
        assert shares == pytest.approx(
            {status: asked[status] / refused for status in (401, 403, 429)}, rel=0.1
        )


def _query(title: str) -> str:
    """Return the only query of a panel."""
    (found,) = (
        query.text
        for row in ROWS.values()
        for panel in row
        if panel.title == title
        for query in panel.queries
    )
    return found


def test_slow_transactions_fire_an_alert(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    with (
        run_service_process(
            tmp_path, **on(own_server), SALDO_REQUEST_DEADLINE_SECONDS="1"
        ) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
            assert post(client, user_id, "1.00").status_code == 200
        watching.wait_for(
            lambda: has_value(watching.query('saldo_transactions_total{outcome="posted"} > 0')),
            "a scrape",
        )
        with psycopg.connect(own_server.service_role_url) as connection:
            connection.execute(load_statement("ledger/lock_all_shards"))
            with _post_continuously(running.url, user_id, clients=12):
                watching.wait_until_firing("SaldoLatencyBudgetBurnsFast")
                connection.rollback()


@contextmanager
def _post_continuously(url: str, user_id: int, clients: int) -> Iterator[None]:
    """Run clients that post one transaction at a time, whatever the answers are."""
    stopping = threading.Event()

    def repeat() -> None:
        with httpx.Client(base_url=url, timeout=15) as client:
            while not stopping.wait(PACE_SECONDS):
                post(client, user_id, "1.00")

    with ThreadPoolExecutor(clients) as executor:
        done = [executor.submit(repeat) for _ in range(clients)]
        try:
            yield
        finally:
            stopping.set()
    for each in done:
        each.result()


@pytest.mark.long
def test_unavailable_broker_fires_an_alert_until_the_sink_has_caught_up(
    tmp_path: Path, prometheus_program: str, rabbitmq_program: str, own_server: EmbeddedServer
) -> None:
    with ExitStack() as stack:
        own_broker = stack.enter_context(run_broker(rabbitmq_program, tmp_path))
        running = stack.enter_context(
            run_service_process(
                tmp_path, **on(own_server), **QUICK, SALDO_RABBITMQ_URL=own_broker.url
            )
        )
        watching = stack.enter_context(
            run_prometheus(
                prometheus_program, tmp_path, running.url, {"SaldoSinkBehind": ("> 60", "> 5")}
            )
        )
        stack.enter_context(run_load(running.url))
        watching.wait_for(
            lambda: has_value(watching.query("saldo_sink_events_published_total > 0")), "events"
        )
        own_broker.kill()
        (labels,) = watching.wait_until_firing("SaldoSinkBehind")
        assert labels["sink"] == "rabbitmq-exchange"
        watching.wait_until_firing("SaldoSinkFails")
        assert "SaldoSinkWithoutRelay" not in watching.firing_alerts()
        own_broker.start()
        watching.wait_until_silent("SaldoSinkBehind")


@pytest.mark.long
def test_sink_without_a_relay_fires_an_alert(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    nobody = {"SALDO_RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:9/"}
    with run_service_process(tmp_path, **on(own_server), **nobody) as running:
        _wait_for_metric(running.url, "saldo_sink_active")
    with (
        run_service_process(
            tmp_path, **on(own_server), **nobody, SALDO_RELAY_ENABLED="false"
        ) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        (labels,) = watching.wait_until_firing("SaldoSinkWithoutRelay")
        assert labels["sink"] == "rabbitmq-exchange"
        assert "SaldoSinkFails" not in watching.firing_alerts()


def _wait_for_metric(url: str, name: str) -> None:
    deadline = time.monotonic() + 30
    while name not in httpx.get(f"{url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


@pytest.mark.long
def test_disabled_webhook_and_dead_deliveries_fire_alerts(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Check that a disabled webhook fires no other alerts, although it is behind and nothing relays to it."""
    with (
        run_service_process(
            tmp_path, **on(own_server), **QUICK, SALDO_WEBHOOK_GIVE_UP_SECONDS="0.5"
        ) as running,
        run_prometheus(
            prometheus_program, tmp_path, running.url, {"SaldoSinkBehind": ("> 60", "> 5")}
        ) as watching,
        run_load(running.url),
        httpx.Client(base_url=running.url) as client,
    ):
        dead, disabled = (
            client.post("/v1/webhook", json={"url": "http://127.0.0.1:9/nobody"}).json()["id"]
            for _ in range(2)
        )
        (labels,) = watching.wait_until_firing("SaldoWebhookDeadEvents")[:1]
        assert labels["webhook"] in {str(dead), str(disabled)}
        assert client.patch(f"/v1/webhook/{disabled}", json={"enabled": False}).status_code == 200
        (labels,) = watching.wait_until_firing("SaldoWebhookDisabled")
        assert labels["webhook"] == str(disabled)
        sink = f'{{sink="webhook-{disabled}"}}'
        watching.wait_for(
            lambda: has_value(watching.query(f"saldo_sink_seconds_behind{sink} > 10")), "lag"
        )
        assert has_value(watching.query(f"saldo_sink_active{sink} == 0"))
        told = watching.firing_alerts()
        for name in ("SaldoSinkBehind", "SaldoSinkWithoutRelay"):
            assert f"webhook-{disabled}" not in {each["sink"] for each in told.get(name, [])}


@pytest.mark.long
def test_wrong_entry_fires_an_alert_until_it_is_acknowledged(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Insert an entry directly into the database."""
    with (
        run_service_process(tmp_path, **on(own_server)) as running,
        run_prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
            assert post(client, user_id, "1.00").status_code == 200
        watching.wait_for(
            lambda: has_value(watching.query("saldo_audit_faults == 0")), "nothing wrong yet"
        )
        with psycopg.connect(own_server.owner_role_url) as connection:
            connection.execute(WRONG_ENTRY, (user_id,))
        watching.wait_until_firing("SaldoAuditFaults")
        # The commands in the runbook find the fault and acknowledge it.
        section = HOW_TO.read_text().split("### SaldoAuditFaults\n")[1].split("### ")[0]
        show, find, acknowledge = re.findall(r"`(saldo (?:audit|verify)[^`]+)`", section)
        found = _run(tmp_path, show, 0, **on(own_server))
        assert f"user {user_id}, number 2: balance: found 201, expected 200" in found
        assert found.endswith("1 unacknowledged fault\n")
        assert f"user {user_id}, number 2: " in _run(tmp_path, find, 1, **on(own_server))
        _run(tmp_path, acknowledge, 0, **on(own_server))
        watching.wait_for(
            lambda: has_value(watching.query("saldo_audit_faults == 0")), "it is acknowledged"
        )


def _run(directory: Path, command: str, code: int, **settings: str) -> str:
    """Return the output of a command from the page, and check its exit code."""
    program, *arguments = shlex.split(command)
    assert program == "saldo"
    done: subprocess.CompletedProcess[str] = forks.run(
        arguments, cwd=directory, env=os.environ | settings, capture_output=True, text=True
    )
    assert done.returncode == code, done.stderr
    return done.stdout
