"""Spans: of a request, its wait, its batch and the database; of the relay."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from saldo.bootstrap.relays import relays_at_work
from saldo.bootstrap.service import running
from saldo.observability.tracing import Tracing
from tests.conftest import settings_for
from tests.consumers import Received, queue


@pytest.fixture
def exporter() -> InMemorySpanExporter:
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter: InMemorySpanExporter) -> Iterator[Tracing]:
    found = Tracing(SimpleSpanProcessor(exporter), "0", 1.0)
    yield found
    found.stop()


def _named(exporter: InMemorySpanExporter, name: str) -> list[ReadableSpan]:
    return [span for span in exporter.get_finished_spans() if span.name == name]


def _attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


async def test_a_request_its_wait_its_batch_and_the_database(
    database_url: str, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    settings = settings_for(database_url)
    async with running(settings, database_url, tracing=tracing) as front:
        transport = httpx.ASGITransport(app=tracing.traced(front))
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            user_id = (await client.post("/v1/user", json={"name": str(uuid4())})).json()["id"]
            body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
            assert (await client.post("/v1/transaction", json=body)).status_code == 200
            await client.get(f"/v1/user/{user_id}/balance")
            await client.get(f"/v1/transaction/{body['uuid']}")
            await client.get("/wp-admin")
            refused = body | {"uuid": str(uuid4()), "amount": "x"}
            assert (await client.post("/v1/transaction", json=refused)).status_code == 422
    (request, invalid) = _named(exporter, "POST /v1/transaction")
    assert _attributes(request)["http.response.status_code"] == 200
    assert _attributes(invalid)["http.response.status_code"] == 422
    spans = {name: _named(exporter, name)[0] for name in ("queue", "batch", "database")}
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
    # One for the route, however many users and transactions there are, and whatever somebody tries.
    assert _named(exporter, "GET /v1/user/{user_id}/balance")
    assert _attributes(_named(exporter, "GET")[0])["http.response.status_code"] == 404
    assert _named(exporter, "GET /v1/transaction/{uuid}")


async def test_a_batch_of_events(
    database_url: str, rabbitmq_url: str, tracing: Tracing, exporter: InMemorySpanExporter
) -> None:
    settings = settings_for(
        database_url, rabbitmq_url=rabbitmq_url, rabbitmq_exchange=f"saldo-test-{uuid4()}"
    )
    received = Received()
    async with running(settings, database_url) as front:
        transport = httpx.ASGITransport(app=front)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            created = await client.post("/v1/user", json={"name": str(uuid4())})
    key = f"user.{created.json()['id']}.#"
    async with (
        queue(rabbitmq_url, settings.rabbitmq_exchange, key) as consumer,
        relays_at_work(settings, database_url, None, tracing),
    ):
        await consumer.until(received, 1)
    spans = _named(exporter, "relay")
    assert sum(_attributes(span)["saldo.events"] for span in spans) >= 1
    assert {_attributes(span)["saldo.sink"] for span in spans} == {"rabbitmq-exchange"}
