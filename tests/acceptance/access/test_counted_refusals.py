"""Metrics of rejected requests: each is counted under its route, and no client can add a label value."""

from __future__ import annotations

from collections import Counter
from typing import Any
from uuid import uuid4

from prometheus_client.registry import REGISTRY

from harness.postgresql.databases import Database
from tests.acceptance.access.test_access import Api, deposit, serve

NAME = "saldo_http_requests"


def count_requests() -> Counter[tuple[str, str, str]]:
    """Return the number of requests by method, route and status."""
    found: Counter[tuple[str, str, str]] = Counter()
    for family in REGISTRY.collect():
        if family.name == NAME:
            for sample in family.samples:
                if sample.name.endswith("_total"):
                    labels = sample.labels
                    found[labels["method"], labels["route"], labels["status"]] = int(sample.value)
    return found


def fill_template(template: str) -> str:
    path = template.replace("{user_id}", "1").replace("{uuid}", str(uuid4()))
    return path.replace("{webhook_id}", "1").replace("{key_id}", "999")


async def check_refusals(api: Api, key: str | None, status: int, but: str = "") -> None:
    """Request every guarded route except `but` with this key, and compare the counters with the requests."""
    expected: Counter[tuple[str, str, str]] = Counter()
    before = count_requests()
    for method, template, operation in api.document.operations:
        if operation.get("security") == [{}] or template == but:
            continue
        answer = await api.client(key).request(method, fill_template(template))
        assert answer.status_code == status, (method, template, answer.text)
        expected[method.upper(), template, str(status)] += 1
        if method.upper() == "GET":
            # HEAD requests are not checked against the document, which doesn't contain them.
            assert (await _bare(api, key).head(fill_template(template))).status_code == status
            expected["HEAD", template, str(status)] += 1
    assert count_requests() - before == expected
    assert len(expected) > 30


def _bare(api: Api, key: str | None) -> Any:
    client = api.client(key)
    client.event_hooks = {}
    return client


async def test_rejections_are_counted_under_their_route(own_ledger: Database) -> None:
    async with serve(own_ledger, rate_requests_per_second=0.001, rate_burst=1) as api:
        metrics = (await api.key("metrics"))["key"]
        await check_refusals(api, None, 401)
        nothing = await api.key("read", networks=["192.0.2.0/24"])
        await check_refusals(api, nothing["key"], 401)
        await check_refusals(api, metrics, 403, but="/metrics")
        assert (await api.client(metrics).get("/metrics")).status_code == 200
        reader = (await api.key("admin"))["key"]
        assert (await api.client(reader).get("/v1/user")).status_code == 200
        await check_refusals(api, reader, 429)
        before = count_requests()
        wrong = await _bare(api, None).post(
            "/v1/transaction", json=deposit(1), headers=[("host", "a"), ("host", "b")]
        )
        assert wrong.status_code == 400
        assert count_requests() - before == {("POST", "/v1/transaction", "400"): 1}


async def test_unauthenticated_client_adds_no_label(own_ledger: Database) -> None:
    async with serve(own_ledger) as api:
        before = {*count_requests()}
        client = _bare(api, None)
        for number in range(20):
            for path in (f"/{number}", f"/v1/user/{number}/{number}", f"/v1/{number}"):
                await client.get(path)
                await client.options(path)
            await client.request(f"M{number}", "/v1/user")
            await client.get(f"/v1/user/{number}")
            await client.delete("/v1/user")
        new = {labels for labels in count_requests() if labels not in before}
        assert len(new) <= 5, new
        assert {route for _, route, _ in new} <= {"other", "/v1/user/{user_id}"}
        assert {method for method, _, _ in new} <= {"GET", "DELETE", "OPTIONS", "other"}
