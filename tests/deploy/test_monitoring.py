"""Dashboards and alerts with a real Prometheus, on a service that works and on one that is broken."""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import signal
import subprocess
import sys
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

from saldo.store.embedded import EmbeddedServer
from saldo.store.statements import statement
from tests.acceptance.service import service
from tests.deploy.load import PACE_SECONDS, load, post
from tests.deploy.prometheus import (
    METRICS_KEY,
    POLL_SECONDS,
    SHIPPED,
    Prometheus,
    has_value,
    prometheus,
    substituted,
)
from tests.faults.broker import broker
from tests.receiver import receiving

QUICK = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.1",
    "SALDO_RELAY_LEASE_SECONDS": "1",
}

HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "monitor.md"

WRONG_ENTRY = """
INSERT INTO saldo.transactions
SELECT (jsonb_populate_record(t, jsonb_build_object(
    'seq', t.seq + 1, 'number', t.number + 1, 'uuid', gen_random_uuid(), 'balance', t.balance + t.amount + 1
))).*
FROM saldo.transactions AS t WHERE t.user_id = %s ORDER BY t.number DESC LIMIT 1
"""
"""Another deposit of the same amount, and a cent more in the balance."""


def on(server: EmbeddedServer) -> dict[str, str]:
    """Settings of a service on it."""
    return {"SALDO_DATABASE_URL": server.service_url, "SALDO_DATABASE_OWNER_URL": server.owner_url}


async def test_every_panel_shows_something(
    tmp_path: Path, prometheus_program: str, request: pytest.FixtureRequest
) -> None:
    """On the embedded server, with everything that can be had: of the broker, what is there."""
    brokers = {
        "SALDO_RABBITMQ_URL": request.getfixturevalue("rabbitmq_url"),
        "SALDO_RABBITMQ_EXCHANGE": f"saldo-{tmp_path.name}",
        "SALDO_RABBITMQ_STREAM_URL": request.getfixturevalue("rabbitmq_stream_url"),
        "SALDO_RABBITMQ_STREAM": f"saldo-{tmp_path.name}",
    }

    # Whatever has the same entries is a replica: the embedded server is its own.
    replica = {"SALDO_DATABASE_REPLICA_URL": EmbeddedServer(tmp_path / "data").service_url}

    def watch(webhook_url: str) -> None:
        with (
            service(tmp_path, **QUICK, **brokers, **replica, SALDO_WORKERS="2") as running,
            prometheus(prometheus_program, tmp_path, running.url) as watching,
            load(running.url),
        ):
            with httpx.Client(base_url=running.url) as client:
                for url in (webhook_url, "http://127.0.0.1:9/nobody"):
                    assert client.post("/v1/webhook", json={"url": url}).status_code == 201
            _wait_for_every_panel(watching)
            assert _metrics_of_the_rules() <= watching.metrics()

    async with receiving() as receiver:
        await asyncio.to_thread(watch, receiver.url)


def _metrics_of_the_rules() -> set[str]:
    texts = [path.read_text() for path in (SHIPPED / "rules").glob("*.yml")]
    expressions = [
        rule["expr"]
        for text in texts
        for group in yaml.safe_load(text)["groups"]
        for rule in group["rules"]
    ]
    # Recorded ones have colons; nothing of webhooks, users and so on may be spelt in another way.
    return set(re.findall(r"(?<![\w:])saldo_\w+(?![\w:])", "\n".join(expressions)))


def _wait_for_every_panel(watching: Prometheus) -> None:
    queries = {
        f"{panel.title}: {query.text}": substituted(query.text)
        for row in ROWS.values()
        for panel in row
        for query in panel.queries
    }

    def empty() -> list[str]:
        return [name for name, text in queries.items() if not has_value(watching.query(text))]

    watching.wait_for(lambda: not empty(), lambda: "no data:\n" + "\n".join(empty()))


def test_a_database_that_is_away_pages_until_it_is_back(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    impatient = {"SALDO_REQUEST_DEADLINE_SECONDS": "0.5", "SALDO_READ_TIMEOUT_SECONDS": "0.5"}
    with (
        service(tmp_path, **on(own_server), **impatient) as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
        load(running.url),
    ):
        watching.wait_for(
            lambda: has_value(watching.query("job:saldo_errors:ratio_rate5m")), "objectives"
        )
        assert not {"SaldoDatabaseDown", "SaldoErrorBudgetBurnsFast"} & watching.firing().keys()
        own_server.stop()
        watching.wait_until_firing("SaldoDatabaseDown")
        watching.wait_until_firing("SaldoErrorBudgetBurnsFast")
        assert "SaldoDown" not in watching.firing()
        own_server.start()
        watching.wait_until_silent("SaldoDatabaseDown")


def test_a_service_that_is_gone_pages(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    with (
        service(tmp_path, **on(own_server), SALDO_METRICS_KEY=METRICS_KEY) as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        assert httpx.get(f"{running.url}/metrics").status_code == 401
        watching.wait_for(lambda: has_value(watching.query("up{job='saldo'} == 1")), "a scrape")
        running.end(signal.SIGKILL)
        (labels,) = watching.wait_until_firing("SaldoDown")
        assert labels["instance"] in running.url


def test_a_service_that_stands_still_is_told(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """It answers no scrape; and afterwards it knows how late it was."""
    with (
        service(tmp_path, **on(own_server)) as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
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


def test_a_queue_that_is_full_is_told(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """No batch gets on, so the few places are taken soon."""
    with (
        service(tmp_path, **on(own_server), SALDO_QUEUE_REQUESTS_MAX="4") as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
        with (
            psycopg.connect(own_server.service_url) as connection,
            _posting(running.url, user_id, clients=12),
        ):
            watching.wait_for(
                lambda: has_value(watching.query("saldo_requests_shed_total")), "a scrape"
            )
            connection.execute(statement("lock_all_shards"))
            for name in ("SaldoQueueNearlyFull", "SaldoRequestsShed"):
                watching.wait_until_firing(name)
            connection.rollback()
            watching.wait_until_silent("SaldoQueueNearlyFull")


def test_transactions_that_take_long_page(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    with (
        service(tmp_path, **on(own_server), SALDO_REQUEST_DEADLINE_SECONDS="1") as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
            assert post(client, user_id, "1.00").status_code == 200
        watching.wait_for(
            lambda: has_value(watching.query('saldo_outcomes_total{outcome="posted"} > 0')),
            "a scrape",
        )
        with psycopg.connect(own_server.service_url) as connection:
            connection.execute(statement("lock_all_shards"))
            with _posting(running.url, user_id, clients=12):
                watching.wait_until_firing("SaldoLatencyBudgetBurnsFast")
                connection.rollback()


@contextmanager
def _posting(url: str, user_id: int, clients: int) -> Iterator[None]:
    """Clients that post, each one at a time, whatever they are answered."""
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


def test_a_broker_that_is_away_is_told_until_it_has_caught_up(
    tmp_path: Path, prometheus_program: str, rabbitmq_program: str, own_server: EmbeddedServer
) -> None:
    with ExitStack() as stack:
        own_broker = stack.enter_context(broker(rabbitmq_program, tmp_path))
        running = stack.enter_context(
            service(tmp_path, **on(own_server), **QUICK, SALDO_RABBITMQ_URL=own_broker.url)
        )
        watching = stack.enter_context(
            prometheus(
                prometheus_program, tmp_path, running.url, {"SaldoSinkBehind": ("> 60", "> 5")}
            )
        )
        stack.enter_context(load(running.url))
        watching.wait_for(
            lambda: has_value(watching.query("saldo_sink_events_published_total > 0")), "events"
        )
        own_broker.kill()
        (labels,) = watching.wait_until_firing("SaldoSinkBehind")
        assert labels["sink"] == "rabbitmq-exchange"
        watching.wait_until_firing("SaldoSinkFails")
        assert "SaldoSinkWithoutRelay" not in watching.firing()
        own_broker.start()
        watching.wait_until_silent("SaldoSinkBehind")


def test_a_sink_that_nobody_relays_to_pages(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    nobody = {"SALDO_RABBITMQ_URL": "amqp://guest:guest@127.0.0.1:9/"}
    with service(tmp_path, **on(own_server), **nobody) as running:
        _wait_for_metric(running.url, "saldo_sink_active")
    with (
        service(tmp_path, **on(own_server), **nobody, SALDO_RELAY="false") as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        (labels,) = watching.wait_until_firing("SaldoSinkWithoutRelay")
        assert labels["sink"] == "rabbitmq-exchange"
        assert "SaldoSinkFails" not in watching.firing()


def _wait_for_metric(url: str, name: str) -> None:
    deadline = time.monotonic() + 30
    while name not in httpx.get(f"{url}/metrics").text:
        assert time.monotonic() < deadline
        time.sleep(POLL_SECONDS)


def test_a_webhook_that_is_disabled_or_has_dead_events_is_told(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """And of one that is disabled nothing else is told: it is behind, and nobody relays to it."""
    with (
        service(
            tmp_path, **on(own_server), **QUICK, SALDO_WEBHOOK_RETRY_SECONDS_MAX="0.5"
        ) as running,
        prometheus(
            prometheus_program, tmp_path, running.url, {"SaldoSinkBehind": ("> 60", "> 5")}
        ) as watching,
        load(running.url),
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
        told = watching.firing()
        for name in ("SaldoSinkBehind", "SaldoSinkWithoutRelay"):
            assert f"webhook-{disabled}" not in {each["sink"] for each in told.get(name, [])}


def test_an_entry_that_is_wrong_pages(
    tmp_path: Path, prometheus_program: str, own_server: EmbeddedServer
) -> None:
    """Somebody writes past Saldo."""
    with (
        service(tmp_path, **on(own_server)) as running,
        prometheus(prometheus_program, tmp_path, running.url) as watching,
    ):
        with httpx.Client(base_url=running.url) as client:
            user_id = client.post("/v1/user", json={"name": "a"}).json()["id"]
            assert post(client, user_id, "1.00").status_code == 200
        watching.wait_for(
            lambda: has_value(watching.query("saldo_audit_faults == 0")), "nothing wrong yet"
        )
        with psycopg.connect(own_server.owner_url) as connection:
            connection.execute(WRONG_ENTRY, (user_id,))
        watching.wait_until_firing("SaldoAuditFaults")
        # What the page says to do finds it, and ends it.
        section = HOW_TO.read_text().split("### SaldoAuditFaults\n")[1].split("### ")[0]
        show, find, acknowledge = re.findall(r"`(saldo (?:audit|verify)[^`]+)`", section)
        found = _run(tmp_path, show, 0, **on(own_server))
        assert f"user {user_id}, number 2: balance: found 201, expected 200" in found
        assert found.endswith("1 faults that nobody has acknowledged\n")
        assert f"user {user_id}, number 2: " in _run(tmp_path, find, 1, **on(own_server))
        _run(tmp_path, acknowledge, 0, **on(own_server))
        watching.wait_for(
            lambda: has_value(watching.query("saldo_audit_faults == 0")), "it is acknowledged"
        )


def _run(directory: Path, command: str, code: int, **settings: str) -> str:
    """What a command of the page prints, if it ends with this code."""
    done = subprocess.run(
        [sys.executable, "-m", *shlex.split(command)],
        cwd=directory,
        env=os.environ | settings,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == code, done.stderr
    return done.stdout
