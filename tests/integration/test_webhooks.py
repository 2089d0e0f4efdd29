"""Webhooks on the real database, with receivers that behave badly."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any
from uuid import uuid4

import httpx
import pytest
from standardwebhooks import Webhook as Signature

from saldo.bootstrap import webhooks_at_work
from saldo.store.webhooks import Delivery, Webhook, Webhooks
from tests.conftest import settings_for
from tests.receiver import Receiver, answer, first, receiving

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

QUICK: dict[str, Any] = {
    "webhook_allow_private": True,
    "webhook_backoff_seconds_min": 0.05,
    "webhook_backoff_seconds_max": 0.2,
    "webhook_timeout_seconds": 5.0,
    "relay_poll_seconds": 0.05,
}


class Hook:
    """A subscription to users of its own."""

    def __init__(self, store: Webhooks, webhook_id: int, user_ids: list[int]) -> None:
        self.store = store
        self.id = webhook_id
        self.user_ids = user_ids

    async def state(self) -> Webhook:
        found = await self.store.get(self.id)
        assert found is not None
        return found

    async def deliveries(self) -> list[Delivery]:
        return await self.store.deliveries(self.id, after_id=0, state=None, limit=1000)

    async def until(self, **wanted: Any) -> Webhook:
        """The subscription, when it is as wanted."""
        while True:
            state = await self.state()
            if all(getattr(state, name) == value for name, value in wanted.items()):
                return state
            await asyncio.sleep(0.02)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[Webhooks]:
    webhooks = await Webhooks.open(database_url, connections=1, timeout_seconds=10)
    yield webhooks
    for webhook in await webhooks.page(after_id=0, limit=1000):
        await webhooks.delete(webhook.id)
    webhooks.terminate()


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as found:
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
async def delivering(database_url: str, **settings: Any) -> AsyncIterator[None]:
    given = settings_for(database_url, **(QUICK | settings))
    async with webhooks_at_work(given, database_url):
        yield


async def test_an_event_arrives_signed(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    async with delivering(database_url):
        uuid = await deposit(api, hook.user_ids[0])
        (request,) = await receiver.wait_for_count(1)
        await hook.until(attempts_succeeded=1, failing_since=None)
    assert Signature(SECRET).verify(request.body, request.headers) == request.event
    assert request.headers["content-type"] == "application/cloudevents+json"
    assert request.headers["webhook-id"] == request.event["id"] == uuid
    assert (request.event["type"], request.number) == ("saldo.transaction.posted", 1)


async def test_a_failure_is_tried_again_under_the_same_id(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url)
    receiver.behave = first(answer(500), 3)
    async with delivering(database_url):
        uuid = await deposit(api, hook.user_ids[0])
        requests = await receiver.wait_for_count(4)
        state = await hook.until(attempts_succeeded=1)
        await hook.until(deliveries_waiting=0)
    assert [each.headers["webhook-id"] for each in requests] == [uuid] * 4
    assert (state.attempts_failed, state.last_failure) == (3, "answered 500")
    assert len(receiver.received) == 4


async def test_the_later_events_of_a_user_wait_and_those_of_others_go_on(
    store: Webhooks, api: httpx.AsyncClient, receiver: Receiver, database_url: str
) -> None:
    hook = await subscribe(store, api, receiver.url, users=2)
    failing, other = hook.user_ids
    mended = False

    async def behave(request: Any) -> bytes:
        return answer(503) if request.user_id == failing and not mended else answer(204)

    receiver.behave = behave
    async with delivering(database_url):
        for _ in range(3):
            await deposit(api, failing)
            await deposit(api, other)
        await receiver.wait_for(
            lambda got: [each.number for each in got if each.user_id == other] == [1, 2, 3]
        )
        await hook.until(deliveries_waiting=3)
        before = [each.number for each in receiver.received if each.user_id == failing]
        mended = True
        await hook.until(deliveries_waiting=0, attempts_succeeded=6)
    assert set(before) == {1}
    after = [each.number for each in receiver.received if each.user_id == failing][len(before) :]
    assert after in ([1, 2, 3], [2, 3])  # one may have been under way when it was mended
