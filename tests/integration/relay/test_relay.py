"""The relay on the real log, to a real RabbitMQ."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import jsonschema
import pytest
from rstream.client import Client

from harness.events.consumers import ReceivedEvents, consume_queue, read_stream
from harness.events.lossy_proxy import open_lossy_proxy
from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.bootstrap.relay import read_sink_status, rewind_sink, run_relays
from saldo.bootstrap.service import run_service
from saldo.events.event import Event, EventEncoder
from saldo.relay.rabbitmq.exchange import ExchangeOptions, ExchangeSink
from saldo.relay.rabbitmq.stream import StreamOptions, StreamSink
from saldo.relay.sink import SinkError
from saldo.settings.model import Settings
from saldo.store.connections.connection import open_pool
from saldo.store.log import Log
from saldo.store.sinks import LeaseLostError, SinkLease, Sinks, UnknownSinkError
from saldo.store.webhooks import Webhooks

SCHEMAS = Path(__file__).parents[3] / "docs" / "reference" / "events"

TIMEOUT = 30


@pytest.fixture
def fresh_url(own_ledger: Database) -> str:
    """Yield a ledger of the test's own, because sinks begin at the start of the log."""
    return own_ledger.service_role_url


@asynccontextmanager
async def client_of(settings: Settings, url: str) -> AsyncIterator[httpx.AsyncClient]:
    async with run_service(settings, url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def user(client: httpx.AsyncClient) -> int:
    answer = await client.post("/v1/user", json={"name": str(uuid4())})
    return int(answer.json()["id"])


async def post(client: httpx.AsyncClient, user_id: int, type_: str, amount: str) -> httpx.Response:
    return await client.post(
        "/v1/transaction",
        json={
            "uuid": str(uuid4()),
            "type": type_,
            "amount": amount,
            "user_id": user_id,
            "timestamp": "2023-10-30T12:30:45Z",
        },
    )


def exchange_settings(url: str, rabbitmq_url: str, **given: object) -> Settings:
    return create_settings(
        url,
        rabbitmq_url=rabbitmq_url,
        rabbitmq_exchange=f"saldo-test-{uuid4()}",
        relay_poll_seconds=0.02,
        **given,
    )


async def test_every_entry_becomes_an_event_that_fits_its_schema(
    fresh_url: str, rabbitmq_url: str
) -> None:
    settings = exchange_settings(fresh_url, rabbitmq_url)
    received = ReceivedEvents()
    async with (
        consume_queue(rabbitmq_url, settings.rabbitmq_exchange) as consumer,
        client_of(settings, fresh_url) as client,
        run_relays(settings, fresh_url, None),
    ):
        user_id = await user(client)
        posted = await post(client, user_id, "DEPOSIT", "10.00")
        refused = await post(client, user_id, "WITHDRAW", "10.01")
        assert (posted.status_code, refused.status_code) == (200, 402)
        await consumer.take_until(received, 3)
        assert consumer.last is not None
        assert consumer.last.content_type == "application/cloudevents+json"
        assert consumer.last.routing_key == f"user.{user_id}.transaction.refused"
        assert consumer.last.message_id == received.events[2]["id"]
        assert consumer.last.delivery_mode == 2
    created, posted_event, refused_event = received.events
    assert not received.faults
    shown = (await_json := posted.json()) | {"shard": user_id % 64, "seq": 2}
    assert posted_event["data"] == shown
    assert posted_event["id"] == await_json["uuid"]
    assert posted_event["subject"] == str(user_id)
    assert refused_event["data"]["outcome"] == "insufficient_funds"
    assert refused_event["data"]["balance"] == "10.00"
    assert created["data"]["id"] == user_id
    for event, name in (
        (created, "user-created"),
        (posted_event, "transaction-posted"),
        (refused_event, "transaction-refused"),
    ):
        _check_against_schema(event, name)


async def test_disabled_webhooks_become_events_in_order(fresh_url: str, rabbitmq_url: str) -> None:
    settings = exchange_settings(fresh_url, rabbitmq_url)
    webhooks = await Webhooks.open(fresh_url, connections=5, timeout_seconds=TIMEOUT)
    received = ReceivedEvents()
    ids = [
        await webhooks.create(f"https://example.com/{n}", None, None, "whsec_", webhooks_max=9)
        for n in range(5)
    ]
    # All are disabled at once: each must get a position of its own.
    disabled = await asyncio.gather(*(webhooks.disable(each, "gone") for each in ids))
    assert disabled == [True] * 5
    assert not await webhooks.disable(ids[0], "failing")
    webhooks.terminate()
    async with (
        consume_queue(rabbitmq_url, settings.rabbitmq_exchange, "webhook.#") as consumer,
        run_relays(settings, fresh_url, None),
    ):
        await consumer.take_until(received, 5)
        assert consumer.last is not None
        last = received.events[-1]["data"]["id"]
        assert consumer.last.routing_key == f"webhook.{last}.disabled"
    assert [event["data"]["seq"] for event in received.events] == [1, 2, 3, 4, 5]
    assert {event["data"]["id"] for event in received.events} == set(ids)
    for event in received.events:
        _check_against_schema(event, "webhook-disabled")
    statuses = {status.name: status for status in await read_sink_status(settings, fresh_url)}
    assert statuses["rabbitmq-exchange"].events_behind == 0
    # The webhook was created before there were events, and its relay doesn't run.
    assert statuses[f"webhook-{ids[0]}"].events_behind == 5
    await rewind_sink(settings, fresh_url, "rabbitmq-exchange", "start")
    statuses = {status.name: status for status in await read_sink_status(settings, fresh_url)}
    assert statuses["rabbitmq-exchange"].events_behind == 5


def _check_against_schema(event: dict[str, Any], name: str) -> None:
    schema = json.loads((SCHEMAS / f"{name}.schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
    jsonschema.Draft202012Validator(schema, format_checker=checker).validate(event)


def test_the_asyncapi_document_names_the_schemas_and_our_routes() -> None:
    document = json.loads((SCHEMAS / "asyncapi.json").read_text())
    messages = document["components"]["messages"]
    for message in messages.values():
        file = message["payload"]["schema"]["$ref"]
        schema = json.loads((SCHEMAS / file).read_text())
        assert schema["properties"]["type"]["const"] == message["name"]
    for channel in document["channels"].values():
        for reference in channel["messages"].values():
            assert reference["$ref"].rpartition("/")[2] in messages
    addresses = {channel["address"] for channel in document["channels"].values()}
    assert addresses == {
        "user.{user_id}.transaction.posted",
        "user.{user_id}.transaction.refused",
        "user.{user_id}.created",
        "webhook.{webhook_id}.disabled",
        "saldo",
    }


async def test_order_per_user_with_unroutable_events(fresh_url: str, rabbitmq_url: str) -> None:
    settings = exchange_settings(fresh_url, rabbitmq_url)
    received = ReceivedEvents()
    async with client_of(settings, fresh_url) as client:
        users = [await user(client) for _ in range(5)]
        for _ in range(40):
            await asyncio.gather(*(post(client, each, "DEPOSIT", "1.00") for each in users))
        # The bindings have routing keys of one user only, so the events of others reach no queue.
        async with (
            consume_queue(
                rabbitmq_url, settings.rabbitmq_exchange, f"user.{users[0]}.#"
            ) as consumer,
            run_relays(settings, fresh_url, None),
        ):
            await consumer.take_until(received, 41)
        assert not received.faults
        (status,) = await read_sink_status(settings, fresh_url)
        assert (status.events_published, status.events_unrouted) == (205, 164)
        assert (status.events_behind, status.failures) == (0, 0)
        assert not status.is_active


@pytest.mark.parametrize("missing", ["exchange", "server"])
async def test_unavailable_broker_is_an_error_in_one_line(
    fresh_url: str, rabbitmq_url: str, missing: str
) -> None:
    url = rabbitmq_url if missing == "exchange" else "amqp://guest:guest@127.0.0.1:1/"
    sink = ExchangeSink(ExchangeOptions(url, f"nowhere-{uuid4()}", declare=False))
    with pytest.raises(SinkError, match="RabbitMQ: ") as caught:
        await sink.open(SinkLease(sink.name, 1, "1", {}))
    await sink.close()
    assert "\n" not in str(caught.value)


async def test_lease_has_one_holder_and_old_epochs_are_fenced(fresh_url: str) -> None:
    pool = await open_pool(fresh_url, connections=2, statement_timeout_seconds=5)
    try:
        sinks = Sinks(pool, lease_seconds=60)
        await sinks.create("a")
        await sinks.create("a")
        first, other = uuid4(), uuid4()
        lease = await sinks.acquire_lease("a", first)
        assert lease is not None
        assert await sinks.acquire_lease("a", other) is None
        await sinks.move_cursors(lease, {3: 7}, published=1)
        again = await sinks.acquire_lease(
            "a", first
        )  # the take of a relay that has lost its connection
        assert again is not None
        assert again.positions == dict.fromkeys(range(65), 0) | {3: 7}
        with pytest.raises(LeaseLostError):
            await sinks.move_cursors(lease, {3: 9})
        await sinks.release_lease(again, "the broker is gone")
        taken = await sinks.acquire_lease("a", other)
        assert taken is not None
        assert taken.positions[3] == 7
        with pytest.raises(LeaseLostError):
            await sinks.move_cursors(again, {})
        await sinks.rewind_cursors("a", dict.fromkeys(range(64), 0))
        with pytest.raises(LeaseLostError):
            await sinks.move_cursors(taken, {3: 10})
        rewound = await sinks.acquire_lease("a", first)
        assert rewound is not None
        assert rewound.log_epoch != taken.log_epoch
        assert rewound.positions[3] == 0
        with pytest.raises(UnknownSinkError):
            await sinks.rewind_cursors("b", {})
        (status,) = await sinks.list_statuses()
        assert (status.failures, status.last_failure) == (1, "the broker is gone")
    finally:
        pool.terminate()


async def test_expired_lease_is_taken_over(fresh_url: str) -> None:
    pool = await open_pool(fresh_url, connections=1, statement_timeout_seconds=5)
    try:
        dead, living = Sinks(pool, lease_seconds=0.01), Sinks(pool, lease_seconds=60)
        await dead.create("a")
        lease = await dead.acquire_lease("a", uuid4())
        assert lease is not None
        taken = None
        async with asyncio.timeout(TIMEOUT):
            while taken is None:
                taken = await living.acquire_lease("a", uuid4())
        assert taken.epoch == lease.epoch + 1
    finally:
        pool.terminate()


async def test_rewind_to_a_time_a_position_the_start_and_now(
    fresh_url: str, rabbitmq_url: str
) -> None:
    settings = exchange_settings(fresh_url, rabbitmq_url)
    name = "rabbitmq-exchange"
    async with client_of(settings, fresh_url) as client:
        user_id = await user(client)
        recorded = [
            datetime.fromisoformat(
                (await post(client, user_id, "DEPOSIT", "1.00")).json()["recorded_at"]
            )
            for _ in range(9)
        ]
    shard = user_id % 64

    async def published_next() -> list[int]:
        """Return the numbers that the relay publishes from the current cursors."""
        found = ReceivedEvents()
        async with consume_queue(rabbitmq_url, settings.rabbitmq_exchange) as consumer:
            async with run_relays(settings, fresh_url, None):
                pass  # it publishes what exists before it ends
            await consumer.drain(found)
        return [event["data"]["number"] for event in found.events]

    assert await published_next() == [*range(10)]
    assert await published_next() == []
    await rewind_sink(settings, fresh_url, name, recorded[4])
    assert await published_next() == [5, 6, 7, 8, 9]
    await rewind_sink(settings, fresh_url, name, recorded[4] + timedelta(microseconds=1))
    assert await published_next() == [6, 7, 8, 9]
    await rewind_sink(settings, fresh_url, name, (shard, 8))
    assert await published_next() == [8, 9]
    await rewind_sink(settings, fresh_url, name, "start")
    assert await published_next() == [*range(10)]
    await rewind_sink(settings, fresh_url, name, datetime(2000, 1, 1, tzinfo=UTC))
    await rewind_sink(settings, fresh_url, name, "now")
    assert await published_next() == []


def stream_settings(url: str, stream_url: str) -> Settings:
    return create_settings(
        url,
        rabbitmq_stream_url=stream_url,
        rabbitmq_stream=f"saldo-test-{uuid4()}",
        rabbitmq_stream_bytes_max=100_000_000,
        relay_poll_seconds=0.02,
    )


@asynccontextmanager
async def deleted_afterwards(settings: Settings) -> AsyncIterator[None]:
    """Delete the stream afterwards, because streams are durable."""
    yield
    url = urlsplit(settings.rabbitmq_stream_url or "")
    client = Client(url.hostname or "", url.port or 5552, frame_max=1 << 20, heartbeat=20)
    await client.start()
    await client.authenticate("/", url.username or "guest", url.password or "guest")
    await client.delete_stream(settings.rabbitmq_stream)
    await client.close()


async def test_stream_has_every_event_once_after_a_crash_before_the_cursor_moved(
    fresh_url: str, rabbitmq_stream_url: str
) -> None:
    settings = stream_settings(fresh_url, rabbitmq_stream_url)
    async with client_of(settings, fresh_url) as client:
        users = [await user(client) for _ in range(3)]
        for _ in range(30):
            await asyncio.gather(*(post(client, each, "DEPOSIT", "1.00") for each in users))
    options = StreamOptions(
        rabbitmq_stream_url, settings.rabbitmq_stream, True, settings.rabbitmq_stream_bytes_max
    )
    pool = await open_pool(fresh_url, connections=1, statement_timeout_seconds=5)
    async with deleted_afterwards(settings):
        try:
            sinks, log, encoder = Sinks(pool, lease_seconds=60), Log(pool), EventEncoder(2)
            await sinks.create("rabbitmq-stream")
            lease = await sinks.acquire_lease("rabbitmq-stream", uuid4())
            assert lease is not None
            events = [encoder.encode(e) for e in await log.list_entries_after(lease.positions, 20)]
            # The relay dies after the confirmation and before its cursor has moved.
            await _publish_once(options, lease, events)
            await sinks.release_lease(lease)
        finally:
            pool.terminate()
        async with run_relays(settings, fresh_url, None):
            pass
        everything = await read_stream(rabbitmq_stream_url, settings.rabbitmq_stream, 93)
        received = ReceivedEvents()
        for event in everything:
            received.take(event)
        assert (received.faults, received.duplicates) == ([], 0)
        # After a rewind the same events are published again, under another epoch.
        await rewind_sink(settings, fresh_url, "rabbitmq-stream", "start")
        async with run_relays(settings, fresh_url, None):
            pass
        everything = await read_stream(rabbitmq_stream_url, settings.rabbitmq_stream, 186)
        assert len({event["id"] for event in everything}) == 93


async def test_lost_confirmations_and_events_on_the_way_to_the_stream(
    fresh_url: str, rabbitmq_stream_url: str
) -> None:
    """Break the connection before published events are confirmed, or before they arrive: neither counts as done."""
    async with open_lossy_proxy(rabbitmq_stream_url) as way:
        settings = stream_settings(fresh_url, way.url)
        stream = settings.rabbitmq_stream
        ids: list[str] = []

        async def wait_until_confirmed() -> None:
            while (await read_sink_status(settings, fresh_url))[0].events_behind:
                await asyncio.sleep(0.02)

        async with (
            deleted_afterwards(settings),
            client_of(settings, fresh_url) as client,
            run_relays(settings, fresh_url, None),
            asyncio.timeout(TIMEOUT),
        ):
            user_id = await user(client)
            await wait_until_confirmed()
            for lost in ("confirmations", "events", "confirmations"):
                way.muted, way.swallowing = lost == "confirmations", lost == "events"
                posted = [await post(client, user_id, "DEPOSIT", "1.00") for _ in range(3)]
                ids += [answer.json()["uuid"] for answer in posted]
                if way.muted:  # they are in the stream, but not confirmed
                    await read_stream(rabbitmq_stream_url, stream, len(ids) - 1)
                else:
                    await way.wait_until_swallowed(ids[-3])
                assert (await read_sink_status(settings, fresh_url))[0].events_behind == 3
                way.muted = way.swallowing = False
                way.cut()
                await wait_until_confirmed()
            ids.append((await post(client, user_id, "DEPOSIT", "1.00")).json()["uuid"])
            await wait_until_confirmed()
            found = await read_stream(rabbitmq_stream_url, stream, 1 + len(ids))
    # Nothing is missing or repeated up to the last event.
    assert [event["id"] for event in found[1:]] == ids


async def _publish_once(options: StreamOptions, lease: SinkLease, events: Sequence[Event]) -> None:
    sink = StreamSink(options)
    await sink.open(lease)
    assert await sink.publish(events) == 0
    await sink.close()


async def test_unavailable_stream_is_an_error_in_one_line(
    rabbitmq_stream_url: str,
) -> None:
    for url, declare in (("rabbitmq-stream://127.0.0.1:1/", True), (rabbitmq_stream_url, False)):
        sink = StreamSink(StreamOptions(url, f"nowhere-{uuid4()}", declare, 10_000_000))
        with pytest.raises(SinkError, match="RabbitMQ stream: ") as caught:
            await sink.open(SinkLease(sink.name, 1, "1", {}))
            await sink.publish([Event("i", "saldo.user.created", 1, 1, 0, 1, 1, b"{}")])
        await sink.close()
        assert "\n" not in str(caught.value)
