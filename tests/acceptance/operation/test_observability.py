"""Observability: metrics, logs, and spans at a collector."""

from __future__ import annotations

import json
import os
import re
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from harness.program.service import ServiceProcess, run_service_process

SECONDS_MAX = 30
TRACE_ID, SPAN_ID = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE_ID}-{SPAN_ID}-01"
OPENMETRICS = "application/openmetrics-text; version=1.0.0"


def post(running: ServiceProcess, user_id: int, type_: str, amount: str, **headers: str) -> int:
    body = {"uuid": str(uuid4()), "type": type_, "amount": amount, "user_id": user_id}
    url = f"{running.url}/v1/transaction"
    return httpx.post(url, json=body, headers=headers).status_code


def create_user(running: ServiceProcess) -> int:
    answer = httpx.post(f"{running.url}/v1/user", json={"name": str(uuid4())})
    return int(answer.json()["id"])


class Scrape:
    """One scrape, parsed by Prometheus' own client."""

    def __init__(self, running: ServiceProcess) -> None:
        answer = httpx.get(f"{running.url}/metrics", headers={"accept": OPENMETRICS})
        assert answer.headers["content-type"].startswith(OPENMETRICS)
        self._samples = [
            sample
            for family in text_string_to_metric_families(answer.text)  # type: ignore[no-untyped-call]
            for sample in family.samples
        ]

    def get(self, name: str, **labels: str) -> float:
        """Return the value of the one sample with this name and these labels."""
        (found,) = [
            sample.value
            for sample in self._samples
            if sample.name == name and labels.items() <= sample.labels.items()
        ]
        return float(found)

    def exemplars(self, name: str) -> list[dict[str, str]]:
        """Return the labels of the exemplars of the samples with this name."""
        return [
            each.exemplar.labels for each in self._samples if each.name == name and each.exemplar
        ]

    def values(self, name: str, label: str, **labels: str) -> set[str]:
        """Return the values of a label of the samples with this name and these labels."""
        return {
            each.labels[label]
            for each in self._samples
            if each.name == name and labels.items() <= each.labels.items()
        }

    def names(self) -> set[str]:
        return {sample.name for sample in self._samples}


def test_gauges_of_a_dead_worker_disappear(tmp_path: Path) -> None:
    """Kill a worker, and check that its successor's gauges replace its own while the counters stay."""
    with run_service_process(
        tmp_path, SALDO_WORKERS="2", SALDO_QUEUE_REQUESTS_MAX="500"
    ) as running:
        user_id = create_user(running)
        for _ in range(20):
            assert post(running, user_id, "DEPOSIT", "1.25") == 200

        def scrape_when(satisfied: Callable[[set[str]], bool]) -> tuple[Scrape, set[str]]:
            """Return a scrape once two workers serve, and the workers' process ids."""
            deadline = time.monotonic() + SECONDS_MAX
            while True:
                with suppress(httpx.TransportError):  # from the worker that has just been killed
                    scrape = Scrape(running)
                    pids = scrape.values("process_cpu_seconds_total", "pid", process="worker")
                    if (
                        satisfied(pids)
                        and len(pids) == 2
                        and scrape.get("saldo_queue_requests_max") == 2 * 500
                    ):
                        return scrape, pids
                assert time.monotonic() < deadline
                time.sleep(0.1)

        _, before = scrape_when(lambda _: True)
        killed = min(before)
        os.kill(int(killed), signal.SIGKILL)
        scrape, after = scrape_when(lambda pids: killed not in pids)
        assert len(after & before) == 1
        assert scrape.get("saldo_transactions_total", outcome="posted", replayed="false") == 20


@pytest.mark.parametrize("workers", ["1", "2"])
def test_metrics_cover_all_workers(tmp_path: Path, workers: str) -> None:
    with run_service_process(
        tmp_path, SALDO_WORKERS=workers, SALDO_QUEUE_REQUESTS_MAX="500"
    ) as running:
        user_id = create_user(running)
        for _ in range(20):  # each has a connection of its own, so that every worker gets some
            assert post(running, user_id, "DEPOSIT", "1.25") == 200
        assert post(running, user_id, "WITHDRAW", "100") == 402
        scrape = Scrape(running)
        route = {"method": "POST", "route": "/v1/transaction"}
        assert scrape.get("saldo_http_requests_total", status="200", **route) == 20
        assert scrape.get("saldo_http_requests_total", status="402", **route) == 1
        assert scrape.get("saldo_http_request_duration_seconds_count", **route) == 21
        assert scrape.get("saldo_batch_requests_sum") == 21
        assert scrape.get("saldo_queue_wait_seconds_count") == scrape.get(
            "saldo_batch_duration_seconds_count"
        )
        assert 0 < scrape.get("saldo_queue_wait_seconds_sum") < SECONDS_MAX
        assert scrape.get("saldo_queue_requests_max") == 500 * int(workers)
        assert scrape.get("saldo_database_up") == 1
        assert 0 < scrape.get("saldo_database_roundtrip_seconds") < SECONDS_MAX
        free = scrape.get("saldo_data_disk_free_bytes")
        assert 0 < free <= scrape.get("saldo_data_disk_size_bytes")
        assert scrape.get("saldo_build_info", version="0.1.0") == 1
        deadline = time.monotonic() + SECONDS_MAX
        # The supervisor may have replaced a worker; its gauges disappear within a second.
        memory = "process_resident_memory_bytes"
        # A single worker has no labels, and the relay's process has them in both cases.
        while (workers == "2" and len(scrape.values(memory, "pid", process="worker")) != 2) or len(
            scrape.values(memory, "pid", process="relay")
        ) != 1:
            assert time.monotonic() < deadline
            time.sleep(0.2)
            scrape = Scrape(running)
        while True:
            # The relay's process counts along the log at intervals.
            scrape = Scrape(running)
            if scrape.get("saldo_ledger_entries", outcome="refused"):
                break
            assert time.monotonic() < deadline, running.output()
            time.sleep(0.2)
        assert scrape.get("saldo_ledger_entries", outcome="posted") == 20
        assert scrape.get("saldo_ledger_users") == 1
        assert scrape.get("saldo_ledger_balance") == 25
        assert scrape.get("saldo_ledger_amount_total", type="deposit") == 25
        assert scrape.get("saldo_ledger_amount_total", type="withdrawal") == 0
        assert scrape.get("saldo_audit_faults") == 0
        while scrape.get("saldo_sealed_entries") < 22:
            assert time.monotonic() < deadline, running.output()
            time.sleep(0.2)
            scrape = Scrape(running)
        assert scrape.get("saldo_seals_seconds_behind") == 0
        while "saldo_pool_connections" not in scrape.names():
            assert time.monotonic() < deadline
            time.sleep(0.2)
            scrape = Scrape(running)
        assert scrape.get("saldo_pool_connections", pool="read", state="used") >= 0
        assert scrape.get("saldo_pool_connections_limit", pool="keys") == int(workers)
        assert scrape.get("saldo_pool_waiting_requests", pool="read") >= 0
        assert scrape.get("saldo_database_waiting_sessions") >= 0
        assert 0 <= scrape.get("saldo_database_longest_transaction_seconds") < SECONDS_MAX
        # Without an archive, a replica and TLS there is nothing to report.
        assert not {
            "saldo_wal_archive_failures_total",
            "saldo_replica_lag_seconds",
            "saldo_tls_certificate_expiry_timestamp_seconds",
        } & set(scrape.names())
        assert scrape.get("saldo_event_loop_lag_seconds") >= 0
        text = httpx.get(f"{running.url}/metrics")
        assert text.headers["content-type"].startswith("text/plain; version=")


def test_each_log_line_is_json_with_the_id_of_its_request(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_SLOW_LOG_SECONDS="0.000001") as running:
        user_id = create_user(running)
        post(running, user_id, "DEPOSIT", "1", traceparent=TRACEPARENT, **{"x-request-id": "mine"})
        lines = _lines(running)
        deadline = time.monotonic() + SECONDS_MAX
        while not (about := [line for line in lines if line.get("request_id") == "mine"]):
            # When all requests are slow, only one log line in many is written; so the request is repeated.
            assert time.monotonic() < deadline, running.output()
            post(
                running,
                user_id,
                "DEPOSIT",
                "1",
                traceparent=TRACEPARENT,
                **{"x-request-id": "mine"},
            )
            lines = _lines(running)
    assert about[0]["event"] == "slow request"
    assert about[0]["trace_id"] == TRACE_ID
    assert about[0]["parent_span_id"] == SPAN_ID
    assert (about[0]["method"], about[0]["route"]) == ("POST", "/v1/transaction")
    assert about[0]["seconds"] >= about[0]["body_seconds"] >= 0
    batch = next(line for line in lines if line["event"] == "slow batch")
    assert batch["requests"] == 1
    assert batch["database_seconds"] > batch["lock_wait_seconds"] >= 0
    assert batch["queue_wait_seconds"] >= 0
    for line in lines:
        assert {"event", "level", "logger", "timestamp"} <= line.keys()


def test_console_log_format_is_readable_text(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_LOG_FORMAT="console") as running:
        first = running.output().splitlines()[0]
    assert re.match(r"\d{4}-\d\d-\d\dT\S+Z \[(info|warning)\s*\] ", first), first


def _lines(running: ServiceProcess) -> list[dict[str, Any]]:
    return [json.loads(line) for line in running.output().splitlines()]


class Collector:
    """A collector of spans that are sent as OTLP over HTTP."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.changed = threading.Condition()

    def take(self, body: bytes) -> None:
        request = ExportTraceServiceRequest.FromString(body)
        with self.changed:
            self.spans += [
                span
                for resource in request.resource_spans
                for scope in resource.scope_spans
                for span in scope.spans
            ]
            self.changed.notify_all()

    def wait_for(self, *names: str) -> dict[str, Span]:
        """Return the last span of each name, once all of them have arrived."""
        with self.changed:
            assert self.changed.wait_for(
                lambda: set(names) <= {span.name for span in self.spans}, SECONDS_MAX
            ), self.spans
            return {span.name: span for span in self.spans}


@contextmanager
def run_collector() -> Iterator[tuple[str, Collector]]:
    """Yield a collector and its URL."""
    collector = Collector()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            collector.take(self.rfile.read(int(self.headers["content-length"])))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/v1/traces", collector
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_collector_gets_the_spans_of_a_traced_request(tmp_path: Path) -> None:
    with run_collector() as (url, collector):
        settings = {"SALDO_TRACING_URL": url, "SALDO_TRACING_RATIO": "0"}
        with run_service_process(tmp_path, **settings) as running:
            user_id = create_user(running)
            assert post(running, user_id, "DEPOSIT", "1") == 200  # no trace is requested
            assert post(running, user_id, "DEPOSIT", "1", traceparent=TRACEPARENT) == 200
            exemplars = Scrape(running).exemplars("saldo_http_request_duration_seconds_bucket")
            assert {"trace_id": TRACE_ID} in exemplars
        name = "POST /v1/transaction"
        spans = collector.wait_for(name, "queue", "batch", "database")
        assert {span.trace_id.hex() for span in spans.values()} == {TRACE_ID}
        assert len([span for span in collector.spans if span.name == name]) == 1


def test_logs_spans_and_metrics_contain_no_data_of_clients(tmp_path: Path) -> None:
    """Search for names, amounts, keys and passwords at debug level, with every request slow and traced."""
    secret = "7391846205"
    settings = {
        "SALDO_TRACING_RATIO": "1",
        "SALDO_LOG_LEVEL": "debug",
        "SALDO_SLOW_LOG_SECONDS": "1e-6",
    }
    with run_collector() as (url, collector):
        with (
            run_service_process(tmp_path, SALDO_TRACING_URL=url, **settings) as running,
            httpx.Client(base_url=running.url) as client,
        ):
            user_id = client.post("/v1/user", json={"name": f"Name {secret}"}).json()["id"]
            body = {"type": "DEPOSIT", "amount": f"{secret}.37", "user_id": user_id}
            key = {"authorization": f"Bearer sk-{secret}"}
            webhook = f"http://user:pw{secret}@127.0.0.1:9/{secret}"
            answers = [
                client.post("/v1/transaction", json=body | {"uuid": str(uuid4())}),
                client.post("/v1/transactions", json=[body | {"uuid": str(uuid4())}]),
                client.post("/v1/transaction", json=body | {"uuid": f"{secret}"}),
                client.post("/v1/transaction", content=f'{{"amount": "{secret}", "{secret}"'),
                client.post("/v1/transaction", json=body, headers={"idempotency-key": secret}),
                client.post("/v1/user", json={"name": f"Name {secret}"}),
                client.get("/v1/user", params={"name": f"Name {secret}"}),
                client.get("/v1/user", params={secret: secret}),
                client.post("/v1/webhook", json={"url": webhook}),
                client.post("/v1/key", json={"name": f"key {secret}", "scopes": ["read"]}),
                client.get("/v1/user", headers=key),
                client.post("/console/sign-in", data={"key": f"sk-{secret}"}),
            ]
            codes = [answer.status_code for answer in answers]
            metrics = client.get("/metrics", headers={"accept": OPENMETRICS}).text
        collector.wait_for("POST /v1/transaction", "GET /v1/user", "batch")
    assert codes[:9] == [200, 200, 422, 422, 422, 409, 200, 422, 422], codes
    # A number with so many digits is nowhere by chance.
    said = [running.output()]
    said += [str(span.attributes) + str(span.events) + span.name for span in collector.spans]
    said += re.findall(r"\{[^}]*\}", metrics)
    for text in said:
        assert secret not in text, text


def test_invalid_collector_url_is_one_line(tmp_path: Path) -> None:
    running = ServiceProcess(tmp_path, SALDO_TRACING_URL="localhost:4318")
    assert running.process.wait(60) == 2
    (line,) = running.output().strip().splitlines()
    assert line.startswith("saldo: SALDO_TRACING_URL")
