"""Query parameters: unknown ones are rejected on every route, never ignored."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlencode
from uuid import uuid4

import httpx

from harness.openapi_document import Document

VALUES = {
    "atomic": "true",
    "name": "nobody",
    "limit": "1",
    "cursor": None,  # only a list returns one
    "date": "2024-01-01",
    "before": "2024-01-01",
    "known_at": "2024-01-01",
    "from": "2024-01-01",
    "to": "2024-01-01",
    "type": "DEPOSIT",
    "state": "dead",
    "shard": "1",
    "after": None,  # only with a shard
    # Parameters of a transaction, which does not exist.
    "user_id": None,
}

LOG = "/v1/transactions"
ENDLESS = "/v1/events"
"""The path whose answer does not end and has lists as parameters: see tests/acceptance/events/test_events.py."""


class Asking:
    """Valid requests to every operation of the document, with a query of choice."""

    def __init__(self, api: httpx.AsyncClient, user_id: int, webhook_id: int) -> None:
        self._api = api
        self._path = {
            "user_id": str(user_id),
            "uuid": str(uuid4()),
            "webhook_id": str(webhook_id),
            "key_id": "1",
        }
        transaction = {
            "uuid": self._path["uuid"],
            "type": "DEPOSIT",
            "amount": "1",
            "user_id": user_id,
        }
        self.bodies: dict[str, Any] = {
            "/v1/transaction": transaction,
            "/v1/transactions": [transaction],
            "/v1/user": {"name": f"user {uuid4()}"},
            "/v1/webhook": {"url": "https://example.com/saldo"},
            "/v1/webhook/{webhook_id}": {"enabled": True},
            "/v1/webhook/{webhook_id}/deliveries/replay": {},
            "/v1/key": {"name": "nobody's", "scopes": ["read"]},
            "/v1/key/{key_id}/rotate": {},
        }

    async def ask(self, method: str, path: str, query: list[tuple[str, str]]) -> httpx.Response:
        content: dict[str, Any] = {"json": self.bodies[path]} if method in {"post", "patch"} else {}
        url = f"{path.format(**self._path)}?{urlencode(query)}"
        return await self._api.request(method.upper(), url, **content)


async def _prepare_requests(
    api: httpx.AsyncClient,
) -> tuple[Asking, list[tuple[str, str, list[str]]]]:
    document = Document((await api.get("/openapi.json")).json())
    created = await api.post("/v1/user", json={"name": f"user {uuid4()}"})
    webhook = await api.post("/v1/webhook", json={"url": "https://example.com/saldo"})
    operations = [
        (
            method,
            path,
            [item["name"] for item in operation.get("parameters", ()) if item["in"] == "query"],
        )
        for method, path, operation in document.operations
    ]
    assert len(operations) >= 10
    return Asking(api, created.json()["id"], webhook.json()["id"]), operations


async def test_unknown_parameter_is_rejected_and_the_known_ones_are_named(
    api: httpx.AsyncClient,
) -> None:
    asking, operations = await _prepare_requests(api)
    for method, path, names in operations:
        answer = await asking.ask(method, path, [("dat", "2023-10-30"), ("dat", "2023-10-31")])
        if path.startswith("/healthz/"):  # probes may add any parameter
            assert answer.status_code == 200, path
            continue
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), path
        (error,) = answer.json()["errors"]
        assert error["field"] == "dat"
        listed = error["message"].partition("; ")[2]
        assert all(name in listed for name in names)
        assert names or listed == "it has none"
    for path in ("/healthz/live", "/healthz/ready", "/healthz/startup"):
        for query in ("x=1", "=", "%ff=%00", "&&", f"{'x' * 5000}=1", "a=1&a=2"):
            for method in ("GET", "HEAD"):
                assert (await api.request(method, f"{path}?{query}")).status_code == 200, query
    uuid = asking.bodies["/v1/transaction"]["uuid"]
    assert (await api.get(f"/v1/transaction/{uuid}")).status_code == 404


async def test_repeated_parameter_is_rejected(api: httpx.AsyncClient) -> None:
    asking, operations = await _prepare_requests(api)
    known = [
        (method, path, name)
        for method, path, names in operations
        for name in names
        if path != ENDLESS
    ]
    assert {name for _, _, name in known} == set(VALUES)
    for method, path, name in known:
        value = VALUES[name]
        if value is not None and (path, name) != ("/v1/seals", "limit"):  # that limit needs a shard
            # The log is read per shard, so the shard is required.
            log_of = [("shard", "1")] if path == LOG and method == "get" and name != "shard" else []
            once = await asking.ask(method, path, [(name, value), *log_of])
            assert once.status_code == 200, (path, name)
        twice = await asking.ask(method, path, [(name, value or "x")] * 2)
        assert (twice.status_code, twice.json()["errors"]) == (
            422,
            [{"field": name, "message": "is given twice"}],
        ), (path, name)


async def test_malformed_parameter_name_is_rejected(api: httpx.AsyncClient) -> None:
    for query in ("%ff=1", "=1", "a%00b=1", "%F0%9F%99%82=1", f"{'x' * 5000}=1", "&&a"):
        answer = await api.get(f"/v1/user?{query}")
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid"), query
