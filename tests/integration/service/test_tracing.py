"""Spans: of a request, its wait, its batch and the database, and of the relay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from harness.events.consumers import ReceivedEvents, consume_queue
from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.bootstrap.relay import run_relays
from saldo.bootstrap.service import run_service
from saldo.http.problems import Problem
from saldo.http.raw_responses import send_response
from saldo.http.request_state import ConnectionControl, begin_request_state, get_request_state
from saldo.http.responses import RawResponse
from saldo.observability.tracing import Tracing


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def in_memory_tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    found = Tracing(SimpleSpanProcessor(exporter), "0", 1.0)
    yield found
    found.stop()


def _find_spans(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_trace_has_spans_of_request_wait_batch_and_database(
    database_url: str, in_memory_tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    settings = create_settings(database_url)
    async with run_service(settings, database_url, tracing=in_memory_tracing) as front:
        transport = httpx.ASGITransport(
            app=in_memory_tracing.wrap_application(
                front, front.is_authenticated_cached, get_request_state
            )
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            user_id = (await client.post("/v1/user", json={"name": str(uuid4())})).json()["id"]
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert (await client.post("/v1/transaction", json=body)).status_code == 200
            await client.get(f"/v1/user/{user_id}/balance")
            await client.get(f"/v1/transaction/{body['uuid']}")
            await client.get("/wp-admin")
            refused = body | {"uuid": str(uuid4()), "amount": "x"}
            assert (await client.post("/v1/transaction", json=refused)).status_code == 422
    (request, invalid) = _find_spans(exporter, "POST /v1/transaction")
    assert _attributes(request)["http.response.status_code"] == 200
    assert _attributes(invalid)["http.response.status_code"] == 422
    spans = {name: _find_spans(exporter, name)[0] for name in ("queue", "batch", "database")}
    ids = {name: span.context.span_id for name, span in spans.items() if span.context}
    parents = {name: span.parent.span_id for name, span in spans.items() if span.parent}
    assert request.context is not None
    assert parents == {
        "queue": request.context.span_id,
        "batch": request.context.span_id,
        "database": ids["batch"],
    }
    times = [(span.start_time or 0, span.end_time or 0) for span in (request, *spans.values())]
    (began, ended), (queued, taken), (made, done), (sent, answered) = times
    assert began <= queued <= taken <= made <= sent <= answered <= done <= ended
    assert _attributes(spans["batch"])["saldo.requests"] == 1
    # A span's name contains the route's template and no ids, and unknown paths share one name.
    assert _find_spans(exporter, "GET /v1/user/{user_id}/balance")
    assert _attributes(_find_spans(exporter, "GET")[0])["http.response.status_code"] == 404
    assert _find_spans(exporter, "GET /v1/transaction/{uuid}")


async def test_tracing_passes_scope_changes_to_the_server(
    in_memory_tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    """Check that attributes set in the traced scope reach the server.

    Without them, a stream of lines would time out after `SALDO_BODY_TIMEOUT_SECONDS` like an incomplete body.
    """

    async def application(scope: Any, receive: Any, send: Any) -> None:
        state = get_request_state(scope)
        assert state.connection is control
        state.on_stall, state.has_own_write_timeout = ended.append, True
        answer = RawResponse(200, b"")
        await send_response(scope, send, answer, "1")

    async def send(message: Any) -> None:
        sent.append(message["type"])

    def send_whole(*_: Any) -> bool:
        sent.append("whole")
        return True

    ended: list[Problem] = []
    sent: list[str] = []
    control = ConnectionControl(send_whole, lambda: None, lambda: False)
    traced, other = ({"method": "POST", "path": "/", "scheme": "http", "headers": []} for _ in "ab")
    for scope in (traced, other):
        begin_request_state(scope, control)
    await in_memory_tracing.wrap_application(application, lambda _: True, get_request_state)(
        traced, None, send
    )
    assert get_request_state(traced).on_stall == ended.append
    assert get_request_state(traced).has_own_write_timeout
    # The response of a traced request passes through `send`. That of another request on the connection need not.
    assert sent == ["http.response.start", "http.response.body"]
    await application(other, None, send)
    assert sent[2:] == ["whole"]
    assert exporter.get_finished_spans()


async def test_traceparent_of_a_client_without_a_key_is_ignored(
    own_ledger: Database, exporter: InMemorySpanExporter
) -> None:
    tracing, key = (
        Tracing(SimpleSpanProcessor(exporter), "0", 0.0),
        "a-key-0123456789-0123456789-abcdef",
    )
    url = own_ledger.service_role_url
    async with run_service(create_settings(url, admin_key=key), url, tracing=tracing) as front:
        transport = httpx.ASGITransport(
            app=tracing.wrap_application(front, front.is_authenticated_cached, get_request_state)
        )
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            sampled = {"traceparent": f"00-{'a' * 32}-{'b' * 16}-01"}
            wrong, right = ({"authorization": f"Bearer {each}"} for each in ("x" * 40, key))
            for path in ("/v1/user", "/healthz/live", "/nothing", "/console/sign-in"):
                for headers in ({}, wrong):
                    await client.get(path, headers=sampled | headers)
            assert exporter.get_finished_spans() == ()
            assert (await client.get("/v1/user", headers=right)).status_code == 200
            assert (await client.get("/v1/user", headers=sampled | right)).status_code == 200
    tracing.stop()
    (span,) = exporter.get_finished_spans()
    assert span.context is not None and span.context.trace_id == int("a" * 32, 16)


async def test_batch_of_events_has_a_span(
    database_url: str, rabbitmq_url: str, in_memory_tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    settings = create_settings(
        database_url, rabbitmq_url=rabbitmq_url, rabbitmq_exchange=f"saldo-test-{uuid4()}"
    )
    received = ReceivedEvents()
    async with run_service(settings, database_url) as front:
        transport = httpx.ASGITransport(app=front)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            created = await client.post("/v1/user", json={"name": str(uuid4())})
    key = f"user.{created.json()['id']}.#"
    async with (
        consume_queue(rabbitmq_url, settings.rabbitmq_exchange, key) as consumer,
        run_relays(settings, database_url, None, in_memory_tracing),
    ):
        await consumer.take_until(received, 1)
    spans = _find_spans(exporter, "relay")
    assert sum(_attributes(span)["saldo.events"] for span in spans) >= 1
    assert {_attributes(span)["saldo.sink"] for span in spans} == {"rabbitmq-exchange"}


async def test_a_span_has_the_kind_of_a_failure_and_not_its_message(
    in_memory_tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    secret = "Secret 73912"

    async def fail(*_: Any) -> None:
        raise ValueError(f"Failing row contains ({secret})")

    scope = {"method": "GET", "path": "/", "scheme": "http", "headers": []}
    with pytest.raises(ValueError, match=secret):
        await in_memory_tracing.wrap_application(fail, lambda _: True, get_request_state)(
            scope, None, None
        )
    with pytest.raises(ValueError, match=secret), in_memory_tracing.open_span("relay"):
        await fail()
    spans = exporter.get_finished_spans()
    assert [(span.status.is_ok, span.status.description) for span in spans] == [
        (False, "ValueError")
    ] * 2
    assert not any(secret in span.to_json() for span in spans)


@pytest.mark.parametrize(
    ("host", "direct"),
    [("localhost", True), ("127.0.0.1", True), ("[::1]", True), ("a.example", False)],
)
def test_local_collector_is_reached_without_a_proxy(
    monkeypatch: pytest.MonkeyPatch, host: str, direct: bool
) -> None:
    sessions: list[Any] = []

    class Exporter(OTLPSpanExporter):
        def __init__(self, *, session: Any, **rest: Any) -> None:
            sessions.append(session)
            super().__init__(session=session, **rest)

    monkeypatch.setattr("saldo.observability.tracing.OTLPSpanExporter", Exporter)
    Tracing.create_exporting(f"http://{host}:4318/v1/traces", "0", 0.0).stop()
    assert [session.trust_env for session in sessions] == [not direct]
