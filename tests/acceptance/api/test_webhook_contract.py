"""The HTTP contract of webhooks, on a real database.

Deliveries are tested in tests/integration/relay/test_webhooks.py.
"""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.store.webhooks import Webhooks

URL = "https://example.com/saldo?a=1"
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


@pytest.fixture(autouse=True)
async def nothing_is_left(database_url: str) -> AsyncIterator[None]:
    store = await Webhooks.open(database_url, connections=1, timeout_seconds=10)
    for webhook in await store.list_page(after_id=0, limit=1000):
        await store.delete(webhook.id)
    yield
    for webhook in await store.list_page(after_id=0, limit=1000):
        await store.delete(webhook.id)
    store.terminate()


async def create(api: httpx.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await api.post("/v1/webhook", json={"url": URL} | fields)
    assert answer.status_code == 201, answer.text
    created: dict[str, Any] = answer.json()
    return created


async def test_a_secret_is_shown_once(api: httpx.AsyncClient) -> None:
    created = await create(api)
    secret = created.pop("secret")
    assert len(base64.b64decode(secret.removeprefix("whsec_"))) == 32
    assert (created["event_types"], created["user_ids"], created["enabled"]) == (None, None, True)
    assert (await api.get(f"/v1/webhook/{created['id']}")).json() == created
    assert (await api.get("/v1/webhook")).json() == {"items": [created], "next_cursor": None}
    assert (await create(api))["secret"] != secret
    assert (await create(api, secret=SECRET))["secret"] == SECRET


async def test_a_webhook_may_be_limited_and_changed(api: httpx.AsyncClient) -> None:
    created = await create(
        api, event_types=["saldo.transaction.refused", "saldo.user.created"], user_ids=["7", 5, 7]
    )
    assert created["event_types"] == ["saldo.transaction.refused", "saldo.user.created"]
    assert created["user_ids"] == [5, 7]
    path = f"/v1/webhook/{created['id']}"
    changed = (await api.patch(path, json={"user_ids": None})).json()
    assert (changed["user_ids"], changed["event_types"]) == (None, created["event_types"])
    disabled = (await api.patch(path, json={"enabled": False, "url": "https://b.example"})).json()
    assert (disabled["enabled"], disabled["disabled_reason"]) == (False, "requested")
    assert (disabled["url"], disabled["disabled_at"] is None) == ("https://b.example", False)
    again = (await api.patch(path, json={"enabled": False})).json()
    assert again["disabled_at"] == disabled["disabled_at"]
    enabled = (await api.patch(path, json={"enabled": True})).json()
    assert (enabled["disabled_at"], enabled["disabled_reason"]) == (None, None)


async def test_deleted_webhook_is_not_found(api: httpx.AsyncClient) -> None:
    path = f"/v1/webhook/{(await create(api))['id']}"
    assert (await api.delete(path)).status_code == 200
    for answer in (
        await api.get(path),
        await api.delete(path),
        await api.patch(path, json={"enabled": True}),
        await api.get(f"{path}/deliveries"),
        await api.post(f"{path}/deliveries/replay"),
    ):
        assert (answer.status_code, answer.json()["code"]) == (404, "webhook_not_found")


@pytest.mark.parametrize(
    ("fields", "at_fault"),
    [
        ({"url": None}, {"url"}),
        ({"url": 5}, {"url"}),
        ({"url": "ftp://example.com/"}, {"url"}),
        ({"url": "example.com"}, {"url"}),
        ({"url": "https://"}, {"url"}),
        ({"url": "https://example.com:99999/"}, {"url"}),
        ({"url": "https://user:word@example.com/"}, {"url"}),
        ({"url": "https://example.com/#part"}, {"url"}),
        ({"url": "https://example.com/a b"}, {"url"}),
        ({"url": f"https://example.com/{'a' * 2000}"}, {"url"}),
        ({"url": "https://127.0.0.1/"}, {"url"}),
        ({"url": "https://[::ffff:10.0.0.1]/"}, {"url"}),
        ({"url": "https://169.254.169.254/latest/meta-data"}, {"url"}),
        ({"url": "https://0x7f.1/"}, {"url"}),
        ({"url": "https://2130706433/"}, {"url"}),
        ({"url": "https://0177.0.0.1/"}, {"url"}),
        ({"url": "https://１２７.0.0.1/"}, {"url"}),
        ({"url": "https://*/"}, {"url"}),
        ({"url": "https://[::0]:@"}, {"url"}),
        ({"url": "http://example.com/saldo"}, {"url"}),
        ({"event_types": []}, {"event_types"}),
        ({"event_types": ["saldo.everything"]}, {"event_types"}),
        ({"event_types": "saldo.user.created"}, {"event_types"}),
        ({"event_types": [None]}, {"event_types"}),
        ({"user_ids": []}, {"user_ids"}),
        ({"user_ids": [0]}, {"user_ids"}),
        ({"user_ids": [2**63]}, {"user_ids"}),
        ({"user_ids": [True]}, {"user_ids"}),
        ({"user_ids": [1.5]}, {"user_ids"}),
        ({"user_ids": [*range(1, 1002)]}, {"user_ids"}),
        ({"secret": "word"}, {"secret"}),
        ({"secret": "whsec_AAAA"}, {"secret"}),
        ({"secret": "whsec_*" * 8}, {"secret"}),
        ({"users": [1], "secret": 1, "user_ids": 1}, {"users", "secret", "user_ids"}),
    ],
)
async def test_every_wrong_field_is_named(
    api: httpx.AsyncClient, fields: dict[str, Any], at_fault: set[str]
) -> None:
    answer = await api.post("/v1/webhook", json={"url": URL} | fields)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid")
    assert {error["field"] for error in answer.json()["errors"]} == at_fault
    assert (await api.get("/v1/webhook")).json()["items"] == []


async def test_invalid_change_changes_nothing(api: httpx.AsyncClient) -> None:
    created = await create(api)
    path = f"/v1/webhook/{created['id']}"
    for fields in ({}, {"enabled": None}, {"enabled": "yes"}, {"url": None}, {"enable": True}):
        answer = await api.patch(path, json=fields | {"user_ids": [1]} if fields else {})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), fields
    created.pop("secret")
    assert (await api.get(path)).json() == created


async def test_bodies_must_be_json(api: httpx.AsyncClient) -> None:
    path = f"/v1/webhook/{(await create(api))['id']}"
    text = {"content-type": "text/plain"}
    for answer in (
        await api.post("/v1/webhook", content=b"{}", headers=text),
        await api.patch(path, content=b"{}", headers=text),
        await api.post(f"{path}/deliveries/replay", content=b"{}", headers=text),
    ):
        assert answer.status_code == 415


async def test_ids_and_states_are_parsed_strictly(api: httpx.AsyncClient) -> None:
    path = f"/v1/webhook/{(await create(api))['id']}"
    for wrong, field in (
        ("/v1/webhook/one", "webhook_id"),
        (f"{path}/deliveries?state=lost", "state"),
        (f"{path}/deliveries?cursor=x", "cursor"),
        ("/v1/webhook?limit=0", "limit"),
    ):
        answer = await api.get(wrong)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    wrong_id = await api.post(f"{path}/deliveries/replay", json={"event_id": "x"})
    assert (wrong_id.status_code, wrong_id.json()["errors"][0]["field"]) == (422, "event_id")
    unknown = await api.post(f"{path}/deliveries/replay", json={"event_id": str(uuid4())})
    assert (unknown.status_code, unknown.json()["code"]) == (404, "delivery_not_found")
    assert (await api.post(f"{path}/deliveries/replay")).json() == {"replayed": 0}


async def test_lists_have_pages(api: httpx.AsyncClient) -> None:
    created = [(await create(api))["id"] for _ in range(5)]
    found, cursor = [], None
    while True:
        query = {"limit": "2"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get("/v1/webhook", params=query)).json()
        found += [item["id"] for item in page["items"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert found == created


async def test_number_of_webhooks_is_limited(database_url: str) -> None:
    settings = create_settings(database_url, webhooks_max=2)
    async with run_service(settings, database_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            await create(client)
            await create(client)
            answer = await client.post("/v1/webhook", json={"url": URL})
    assert (answer.status_code, answer.json()["code"]) == (409, "too_many_webhooks")
