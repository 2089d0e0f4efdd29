"""Webhooks on the real database, with receivers that behave badly."""

from __future__ import annotations

import asyncio
import random
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from psycopg.sql import SQL
from standardwebhooks import Webhook as Signature
from standardwebhooks import WebhookVerificationError

from harness.events.webhook_receiver import (
    ReceivedRequest,
    Receiver,
    accept,
    build_response,
    never_answer,
    respond_always,
    respond_first,
    run_receiver,
)
from harness.program.settings import create_settings
from saldo.bootstrap.relay import rewind_sink
from saldo.bootstrap.webhooks import run_webhooks
from saldo.events.event import TRANSACTION_POSTED, USER_CREATED, WEBHOOK_DISABLED
from saldo.store.webhooks import Delivery, Webhook, WebhookChange, Webhooks

DAY = timedelta(days=1)
HOW_TO = Path(__file__).parents[3] / "docs/howto/webhooks.md"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

QUICK: dict[str, Any] = {
    "webhook_allow_private": True,
    "webhook_allow_http": True,
    "webhook_backoff_seconds_min": 0.05,
    "webhook_backoff_seconds_max": 0.2,
    "webhook_timeout_seconds": 5.0,
    "relay_poll_seconds": 0.05,
}


class Hook:
    """A webhook for users of its own."""

    def __init__(self, store: Webhooks, webhook_id: int, user_ids: list[int]) -> None:
        self.store = store
        self.id = webhook_id
        self.user_ids = user_ids

    async def state(self) -> Webhook:
        found = await self.store.get(self.id)
        assert found is not None
        return found

    async def deliveries(self) -> list[Delivery]:
        return await self.store.list_deliveries(self.id, after_id=0, state=None, limit=1000)

    async def until(self, **wanted: Any) -> Webhook:
        """Return the webhook once its fields have these values."""
        while True:
            state = await self.state()
            if all(getattr(state, name) == value for name, value in wanted.items()):
                return state
            await asyncio.sleep(0.02)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Webhooks]:
    webhooks = await Webhooks.open(database_url, connections=1, timeout_seconds=10)
    await delete_all(webhooks)  # webhooks of other tests, whose addresses must get nothing
    yield webhooks
    await delete_all(webhooks)
    webhooks.terminate()


async def delete_all(webhooks: Webhooks) -> None:
    for webhook in await webhooks.list_page(after_id=0, limit=1000):
        await webhooks.delete(webhook.id)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with run_receiver() as found:
        yield found


async def subscribe(
    store: Webhooks, api: httpx.AsyncClient, url: str, users: int = 1, **filters: Any
) -> Hook:
    user_ids = [
        int((await api.post("/v1/user", json={"name": f"user {uuid4()}"})).json()["id"])
        for _ in range(users)
    ]
    webhook_id = await store.create(
        url, filters.get("event_types"), user_ids, SECRET, webhooks_max=100
    )
    return Hook(store, webhook_id, user_ids)


async def deposit(api: httpx.AsyncClient, user_id: int) -> str:
    uuid = str(uuid4())
    body = {"uuid": uuid, "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    assert (await api.post("/v1/transaction", json=body)).status_code == 200
    return uuid


@asynccontextmanager
async def run_quick_webhooks(database_url: str, **settings: Any) -> AsyncIterator[None]:
    given = create_settings(database_url, **(QUICK | settings))
    async with run_webhooks(given, database_url):
        yield


async def test_an_event_arrives_signed(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    async with run_quick_webhooks(database_url):
        uuid = await deposit(api, hook.user_ids[0])
        (request,) = await receiver.wait_for_count(1)
        await hook.until(attempts_succeeded=1, failing_since=None)
    assert Signature(SECRET).verify(request.body, request.headers) == request.event
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == request.event["id"] == uuid
    assert (request.event["type"], request.number) == ("saldo.transaction.posted", 1)


async def test_each_attempt_is_signed_at_its_own_time(
    store: Webhooks,
    api: httpx.AsyncClient,
    receiver: Receiver,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Check that the signature covers the sent bytes, and that a later attempt has a later time."""

    class Clock(datetime):
        attempts = 0

        @classmethod
        def now(cls, tz: Any = None) -> Clock:
            cls.attempts += 1
            return super().now(tz) + cls.attempts * timedelta(minutes=8)

    monkeypatch.setattr("saldo.relay.webhooks.http_sender.datetime", Clock)
    receiver.behave = respond_first(build_response(500), 2)
    await store.create(receiver.url, [USER_CREATED], None, SECRET, webhooks_max=100)
    name = f"\u0141\xf3d\u017a \N{SLIGHTLY SMILING FACE} {uuid4()}"
    async with run_quick_webhooks(database_url):
        assert (await api.post("/v1/user", json={"name": name})).status_code == 201
        requests = await receiver.wait_for_count(3)
    times = [int(each.headers["webhook-timestamp"]) for each in requests]
    assert times[1] - times[0] >= 480 <= times[2] - times[1]
    for each, time in zip(requests, times, strict=True):
        at, text = datetime.fromtimestamp(time, UTC), each.body.decode()
        signature = Signature(SECRET).sign(each.headers["webhook-id"], at, text)
        assert each.headers["webhook-signature"] == signature
        assert each.event["data"]["name"] == name


async def test_event_is_verified_with_the_code_of_the_howto(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    (code,) = re.findall(r"```python\n(.*?)```", HOW_TO.read_text(), re.DOTALL)
    stored: list[Any] = []
    names: dict[str, Any] = {"store": stored.append}
    exec(code, names)
    hook = await subscribe(store, api, receiver.url)
    async with run_quick_webhooks(database_url):
        uuid = await deposit(api, hook.user_ids[0])
        (request,) = await receiver.wait_for_count(1)
    assert names["receive"](request.body + b" ", request.headers) == 400
    assert stored == []
    assert names["receive"](request.body, request.headers) == 204
    assert [event["id"] for event in stored] == [uuid]


async def test_a_failure_is_tried_again_under_the_same_id(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_first(build_response(500), 3)
    async with run_quick_webhooks(database_url):
        uuid = await deposit(api, hook.user_ids[0])
        requests = await receiver.wait_for_count(4)
        state = await hook.until(attempts_succeeded=1)
        await hook.until(deliveries_pending=0)
    assert [each.headers["webhook-id"] for each in requests] == [uuid] * 4
    assert (state.attempts_failed, state.last_failure) == (3, "answered 500")
    assert len(receiver.received) == 4


async def test_retry_scheduled_by_a_fast_clock_does_not_wait_for_it(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url, users=2)
    receiver.behave = respond_always(build_response(500))
    for user_id in hook.user_ids:
        await deposit(api, user_id)
    async with run_quick_webhooks(database_url):
        await receiver.wait_for_count(2)
    ahead = "UPDATE saldo.webhook_deliveries SET {} WHERE webhook_id = %s AND user_id = %s"
    in_an_hour = "next_attempt_at = clock_timestamp() + interval '1 hour', "
    attempt = "last_attempt_at = clock_timestamp() + interval '59 minutes'"
    begin = "last_attempt_at = NULL, waiting_since = clock_timestamp() + interval '59 minutes'"
    with psycopg.connect(database_url, autocommit=True) as connection:
        for user_id, changes in zip(hook.user_ids, (attempt, begin), strict=True):
            statement = SQL(ahead).format(SQL(in_an_hour + changes))
            assert connection.execute(statement, (hook.id, user_id)).rowcount == 1
    receiver.behave = accept
    async with run_quick_webhooks(database_url):
        await hook.until(attempts_succeeded=2)
    assert await hook.deliveries() == []


async def test_failure_delays_only_later_events_of_the_same_user(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url, users=2)
    failing, other = hook.user_ids
    mended = False

    async def behave(request: Any) -> bytes:
        return (
            build_response(503)
            if request.user_id == failing and not mended
            else build_response(204)
        )

    receiver.behave = behave
    async with run_quick_webhooks(database_url):
        for _ in range(3):
            await deposit(api, failing)
            await deposit(api, other)
        await receiver.wait_for(
            lambda got: [each.number for each in got if each.user_id == other] == [1, 2, 3]
        )
        waiting = await hook.until(deliveries_pending=3)
        oldest = waiting.oldest_pending_seconds
        assert 0 < oldest < (await hook.until(deliveries_pending=3)).oldest_pending_seconds
        before = [each.number for each in receiver.received if each.user_id == failing]
        mended = True
        state = await hook.until(deliveries_pending=0, attempts_succeeded=6)
        assert state.oldest_pending_seconds == 0
    assert set(before) == {1}
    after = [each.number for each in receiver.received if each.user_id == failing][len(before) :]
    assert after in ([1, 2, 3], [2, 3])  # one may have been in progress at the recovery


async def test_backlog_of_one_user_is_sent_without_a_query_per_event(
    store: Webhooks,
    api: httpx.AsyncClient,
    receiver: Receiver,
    database_url: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    hook = await subscribe(store, api, receiver.url)
    (user_id,) = hook.user_ids
    looks = 0
    due = Webhooks.list_first_pending

    async def count_query(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return await due(*arguments)

    async def behave(request: ReceivedRequest) -> bytes:
        if not mended:
            return build_response(500)
        # One delivery fails once in the middle of the ones that succeed.
        if request.number == 70 and not stumbled:
            stumbled.append(70)
            return build_response(500)
        return build_response(200)

    stumbled, mended = list[int](), False
    receiver.behave = behave
    async with run_quick_webhooks(database_url, webhook_backoff_seconds_max=0.05):
        for _ in range(120):
            await deposit(api, user_id)
        await hook.until(deliveries_pending=120)
        before = len(receiver.received)
        monkeypatch.setattr(Webhooks, "list_first_pending", count_query)
        mended = True
        state = await hook.until(deliveries_pending=0)
    numbers = [each.number for each in receiver.received[before:]]
    wanted = [*range(1, 71), *range(70, 121)]
    assert numbers in (wanted, wanted[1:])  # one may have been in progress at the recovery
    assert state.attempts_succeeded == 120
    assert looks < 40


async def test_hanging_endpoint_is_abandoned_and_retried(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = never_answer
    async with run_quick_webhooks(database_url, webhook_timeout_seconds=0.2):
        uuid = await deposit(api, hook.user_ids[0])
        await receiver.wait_for_count(2)
        state = await hook.until(deliveries_pending=1)
        receiver.behave = accept
        await hook.until(deliveries_pending=0, attempts_succeeded=1)
    assert state.last_failure == "no response within 0.2 s"
    assert {each.headers["webhook-id"] for each in receiver.received} == {uuid}


async def test_endless_response_of_an_endpoint_counts_as_a_response(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    """Check that the status decides, and that the body is neither awaited beyond the timeout nor read for ever."""
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_always(
        b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x" * 5000
    )
    async with run_quick_webhooks(database_url, webhook_timeout_seconds=0.5):
        await deposit(api, hook.user_ids[0])
        await hook.until(attempts_succeeded=1, deliveries_pending=0)
        receiver.behave = respond_always(
            b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n" + b"x"
        )
        await deposit(api, hook.user_ids[0])
        await hook.until(attempts_succeeded=2)
    assert len(receiver.received) == 2


async def test_answer_that_is_not_http_is_a_failure(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_first(b"SSH-2.0-OpenSSH\r\n\r\n", 2)
    async with run_quick_webhooks(database_url):
        await deposit(api, hook.user_ids[0])
        state = await hook.until(attempts_succeeded=1, attempts_failed=2)
    assert state.last_failure


async def test_endpoint_answering_410_is_disabled_until_it_is_enabled(
    store: Webhooks,
    api: httpx.AsyncClient,
    receiver: Receiver,
    database_url: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_always(build_response(410))
    async with run_quick_webhooks(database_url):
        await deposit(api, hook.user_ids[0])
        state = await hook.until(disabled_reason="gone")
        await deposit(api, hook.user_ids[0])
        assert state.disabled_at is not None
        while f"webhook-{hook.id}: disabled: the endpoint responded with 410" not in caplog.text:
            await asyncio.sleep(0.02)
        receiver.behave = accept
        await store.change(hook.id, WebhookChange(enabled=True), previous_secret=DAY)
        await hook.until(attempts_succeeded=2, deliveries_pending=0)
    assert [each.number for each in receiver.received] == [1, 1, 2]


async def test_endpoint_that_keeps_failing_is_disabled(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_always(build_response(500))
    async with run_quick_webhooks(database_url, webhook_disable_after_seconds=0.3):
        await deposit(api, hook.user_ids[0])
        state = await hook.until(disabled_reason="failing")
    assert state.failing_since is not None
    assert state.attempts_failed >= 2


async def test_disabling_a_webhook_is_delivered_as_a_notice(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_always(build_response(410))
    async with run_receiver() as told, run_receiver() as untold:
        told.behave = respond_first(
            build_response(500), 1
        )  # so that the notice waits for a retry, too
        await store.create(told.url, [WEBHOOK_DISABLED], None, SECRET, webhooks_max=100)
        all_of_the_ledger = await subscribe(store, api, untold.url)
        async with run_quick_webhooks(database_url):
            await deposit(api, hook.user_ids[0])
            _, request = await told.wait_for_count(2)
            await deposit(api, all_of_the_ledger.user_ids[0])
            await all_of_the_ledger.until(attempts_succeeded=1)
    assert request.event["type"] == WEBHOOK_DISABLED
    assert request.event["subject"] == f"webhook-{hook.id}"
    assert request.event["data"]["disabled_reason"] == "gone"
    assert [each.event["type"] for each in untold.received] == [TRANSACTION_POSTED]


async def test_a_redirect_is_not_followed(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    async with run_receiver() as forbidden:
        redirects = [
            build_response(status, f"location: {forbidden.url}") for status in (301, 302, 307, 308)
        ]
        left = [*redirects]

        async def behave(_: ReceivedRequest) -> bytes:
            return left.pop() if left else build_response(200)

        receiver.behave = behave
        async with run_quick_webhooks(database_url):
            await deposit(api, hook.user_ids[0])
            state = await hook.until(attempts_succeeded=1, attempts_failed=4)
        assert forbidden.received == []
    assert state.last_failure == "answered 301, a redirect, which is not followed"


async def test_dead_delivery_can_be_replayed(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    path = f"/v1/webhook/{hook.id}/deliveries"
    receiver.behave = respond_always(build_response(500))
    async with run_quick_webhooks(database_url, webhook_give_up_seconds=0.2):
        uuid = await deposit(api, hook.user_ids[0])
        await hook.until(deliveries_dead=1)
        (dead,) = (await api.get(path, params={"state": "dead"})).json()["items"]
        assert (dead["event_id"], dead["state"], dead["last_failure"]) == (
            *(uuid, "dead"),
            "answered 500",
        )
        assert (await api.get(path, params={"state": "pending"})).json()["items"] == []
        receiver.behave = accept
        # Later deliveries are not delayed by it.
        await deposit(api, hook.user_ids[0])
        await hook.until(attempts_succeeded=1)
        assert (await api.post(f"{path}/replay", json={"event_id": uuid})).json() == {"replayed": 1}
        await hook.until(attempts_succeeded=2, deliveries_dead=0, deliveries_pending=0)
    assert receiver.received[-1].headers["webhook-id"] == uuid


async def test_rewind_sends_all_events_again_including_dead_ones(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    settings = create_settings(database_url)
    target = datetime.now(UTC)
    receiver.behave = respond_always(build_response(500))
    async with run_quick_webhooks(
        database_url, webhook_give_up_seconds=0.05, relay_lease_seconds=1
    ):
        uuid = await deposit(api, hook.user_ids[0])
        await hook.until(deliveries_dead=1)
        (before,) = await hook.deliveries()
        await rewind_sink(settings, database_url, f"webhook-{hook.id}", target)
        while (await hook.deliveries())[0].pending_since == before.pending_since:
            await asyncio.sleep(0.02)
        await hook.until(deliveries_dead=1)
        receiver.behave = accept
        await rewind_sink(settings, database_url, f"webhook-{hook.id}", target)
        await hook.until(attempts_succeeded=1)
    assert {each.headers["webhook-id"] for each in receiver.received} == {uuid}


async def test_only_what_is_subscribed_to_is_sent(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(
        store, api, receiver.url, users=2, event_types=["saldo.transaction.refused"]
    )
    async with run_quick_webhooks(database_url):
        other = int((await api.post("/v1/user", json={"name": f"user {uuid4()}"})).json()["id"])
        refused = []
        for user_id in (*hook.user_ids, other):
            await deposit(api, user_id)
            body = {"uuid": str(uuid4()), "type": "WITHDRAW", "amount": "9", "user_id": user_id}
            assert (await api.post("/v1/transaction", json=body)).status_code == 402
            refused.append(body["uuid"])
        await hook.until(attempts_succeeded=2)
    assert {each.headers["webhook-id"] for each in receiver.received} == {*refused[:2]}


async def test_change_applies_to_later_events_and_deletion_ends_delivery(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    async with run_receiver() as second, run_quick_webhooks(database_url):
        await deposit(api, hook.user_ids[0])
        await receiver.wait_for_count(1)
        await store.change(hook.id, WebhookChange(url=second.url), previous_secret=DAY)
        while not second.received:
            await deposit(api, hook.user_ids[0])
        assert await store.delete(hook.id)
        assert await store.get(hook.id) is None


async def test_one_of_two_relays_sends(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url, users=3)
    async with (
        run_quick_webhooks(database_url),
        run_quick_webhooks(database_url, relay_lease_seconds=1),
    ):
        uuids = [await deposit(api, user_id) for user_id in hook.user_ids * 10]
        await hook.until(attempts_succeeded=30)
    assert sorted(each.headers["webhook-id"] for each in receiver.received) == sorted(uuids)


async def test_replaced_secret_signs_during_the_overlap(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    newest = "whsec_" + "bmV3" * 11
    for secret, kept in (("whsec_" + "b2xk" * 11, timedelta(0)), (newest, DAY)):
        await store.change(hook.id, WebhookChange(secret=secret), previous_secret=kept)
    async with run_quick_webhooks(database_url):
        await deposit(api, hook.user_ids[0])
        (request,) = await receiver.wait_for_count(1)
    for secret in (newest, "whsec_" + "b2xk" * 11):
        Signature(secret).verify(request.body, request.headers)
    with pytest.raises(WebhookVerificationError):
        Signature(SECRET).verify(request.body, request.headers)


async def test_a_stop_in_the_middle_loses_nothing_and_repeats_nothing(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    """Stop the relay in order; kills are tested in tests/faults/test_webhooks.py."""
    hook = await subscribe(store, api, receiver.url, users=3)
    failing = hook.user_ids[0]

    async def behave(request: ReceivedRequest) -> bytes:
        await asyncio.sleep(0.005)
        return build_response(500) if request.user_id == failing else build_response(200)

    receiver.behave = behave
    uuids: set[str] = set()
    for _ in range(4):
        async with run_quick_webhooks(database_url):
            before = len(receiver.received)
            uuids |= {await deposit(api, user_id) for user_id in hook.user_ids * 5}
            await receiver.wait_for_count(before + 3)
    receiver.behave = accept
    async with run_quick_webhooks(database_url):
        await hook.until(deliveries_pending=0, attempts_succeeded=60)
    assert {each.headers["webhook-id"] for each in receiver.received} == uuids
    for user_id in hook.user_ids:
        numbers = [each.number for each in receiver.received if each.user_id == user_id]
        # The first event of the failing user was delivered many times.
        assert [*dict.fromkeys(numbers)] == [*range(1, 21)]
        assert len(numbers) == 20 or user_id == failing


async def test_slow_endpoint_delays_no_other_and_gets_its_concurrency_limit(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    under_way: Counter[int] = Counter()
    most = 0
    at_once: list[int] = []
    released = asyncio.Event()

    async def slow(request: ReceivedRequest) -> bytes:
        nonlocal most
        under_way[request.user_id] += 1
        at_once.append(under_way[request.user_id])
        most = max(most, under_way.total())
        await released.wait()
        under_way[request.user_id] -= 1
        return build_response(200)

    async with run_receiver() as other:
        hook = await subscribe(store, api, receiver.url, users=5)
        beside = Hook(
            store,
            await store.create(other.url, None, hook.user_ids, SECRET, webhooks_max=100),
            hook.user_ids,
        )
        receiver.behave = slow
        async with run_quick_webhooks(database_url, webhook_concurrency=3):
            for user_id in hook.user_ids * 2:
                await deposit(api, user_id)
            await beside.until(attempts_succeeded=10)
            await receiver.wait_for_count(3)
            released.set()
            await hook.until(attempts_succeeded=10, deliveries_pending=0)
    assert most == 3
    assert {*at_once} == {1}


async def test_next_event_of_a_user_waits_for_the_previous_one(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    """Let the endpoint misbehave in random order."""
    chance = random.Random(20261125)
    received: Counter[int] = Counter()
    out_of_order: list[tuple[int, int]] = []

    async def behave(request: ReceivedRequest) -> bytes:
        if request.number != received[request.user_id] + 1:
            out_of_order.append((request.user_id, request.number))
        match chance.randrange(8):
            case 0:
                return build_response(500)
            case 1:
                return build_response(302, "location: http://127.0.0.1:1/")
            case 2:
                await asyncio.Event().wait()
            case 3:
                raise ConnectionResetError
            case 4:
                return build_response(503, "retry-after: 0")
            case 5:
                await asyncio.sleep(0.02)
        received[request.user_id] += 1
        return build_response(200)

    hook = await subscribe(store, api, receiver.url, users=8)
    receiver.behave = behave
    async with run_quick_webhooks(
        database_url, webhook_timeout_seconds=0.5, webhook_backoff_seconds_min=0.01
    ):
        for _ in range(6):
            for user_id in hook.user_ids:
                await deposit(api, user_id)
        await hook.until(attempts_succeeded=48, deliveries_pending=0)
    assert out_of_order == []
    assert received == dict.fromkeys(hook.user_ids, 6)


async def test_endpoint_with_too_many_pending_deliveries_gets_nothing_new(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = respond_always(build_response(500))
    async with run_quick_webhooks(database_url, webhook_pending_max=3):
        for _ in range(10):
            await deposit(api, hook.user_ids[0])
            await receiver.wait_for_count(1)
            assert (await hook.state()).deliveries_pending <= 3
        while not (await hook.state()).deliveries_pending:
            await asyncio.sleep(0.02)
        receiver.behave = accept
        await hook.until(attempts_succeeded=10, deliveries_pending=0)
    delivered = [each.number for each in receiver.received][-10:]
    assert delivered == [*range(1, 11)]


@pytest.mark.parametrize("address", ["127.0.0.1", "::1", "::ffff:127.0.0.1", "10.0.0.1", "0.0.0.0"])
async def test_name_that_resolves_to_a_private_address_is_not_connected_to(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str, address: str
) -> None:
    hook = await subscribe(store, api, f"http://receiver.example:{receiver.port}/hook")
    given = create_settings(database_url, **(QUICK | {"webhook_allow_private": False}))
    async with run_webhooks(given, database_url, Leading(address)):
        await deposit(api, hook.user_ids[0])
        await hook.until(deliveries_pending=1)
        (waiting,) = await hook.deliveries()
    assert waiting.last_failure == f"{address} is not an address of the public internet"
    assert receiver.received == []


async def test_system_name_resolving_to_loopback_is_not_connected_to(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, f"http://localhost:{receiver.port}/hook")
    async with run_quick_webhooks(database_url, webhook_allow_private=False):
        await deposit(api, hook.user_ids[0])
        await hook.until(deliveries_pending=1)
        (waiting,) = await hook.deliveries()
    assert "is not an address of the public internet" in (waiting.last_failure or "")
    assert receiver.received == []


async def test_unknown_name_is_a_failed_attempt(
    store: Webhooks, api: httpx.AsyncClient, database_url: str
) -> None:
    hook = await subscribe(store, api, "http://nobody.invalid/hook")
    async with run_quick_webhooks(database_url):
        await deposit(api, hook.user_ids[0])
        await hook.until(deliveries_pending=1)
        (waiting,) = await hook.deliveries()
    assert waiting.last_failure
    assert waiting.attempts >= 1


async def test_name_that_later_resolves_to_a_private_address_is_not_connected_to(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    """Let the name resolve first to a public address, where nothing answers, and then to the receiver."""
    hook = await subscribe(store, api, f"http://receiver.example:{receiver.port}/hook")
    leading = Leading("192.88.99.1", "127.0.0.1")  # refused, too: reserved for 6to4 relays
    given = create_settings(database_url, **(QUICK | {"webhook_allow_private": False}))
    async with run_webhooks(given, database_url, leading):
        await deposit(api, hook.user_ids[0])
        while (await hook.state()).attempts_failed < 2:
            await asyncio.sleep(0.02)
    assert receiver.received == []


class Leading(AbstractResolver):
    """A resolver that returns the addresses that the test wants."""

    def __init__(self, *addresses: str) -> None:
        self._addresses = [*addresses]

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        address = self._addresses.pop(0) if len(self._addresses) > 1 else self._addresses[0]
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=socket.AF_INET6 if ":" in address else socket.AF_INET,
                proto=0,
                flags=socket.AI_NUMERICHOST,
            )
        ]

    async def close(self) -> None:
        pass
