"""`GET /v1/transactions`: reading the log of a shard, for example to copy it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process

SHARDS = 64


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    """Yield a service with a ledger of its own."""
    with run_service_process(tmp_path_factory.mktemp("log")) as found:
        yield found


@pytest.fixture
def client(shared_service: ServiceProcess) -> Iterator[httpx.Client]:
    with httpx.Client(base_url=shared_service.url) as found:
        yield found


def _user(client: httpx.Client) -> int:
    return int(client.post("/v1/user", json={"name": f"of a log {uuid4()}"}).json()["id"])


def _post(client: httpx.Client, user: int, type_: str, amount: str) -> None:
    body = {"uuid": str(uuid4()), "type": type_, "amount": amount, "user_id": user}
    client.post("/v1/transaction", json=body)


def _page(client: httpx.Client, **query: Any) -> Any:
    answer = client.get("/v1/transactions", params=query)
    assert answer.status_code == 200, answer.text
    return answer.json()


def test_log_has_every_transaction_in_order_including_refused_ones(client: httpx.Client) -> None:
    user = _user(client)
    for type_, amount in (("DEPOSIT", "5"), ("WITHDRAW", "9"), ("WITHDRAW", "2")):
        _post(client, user, type_, amount)
    page = _page(client, shard=user % SHARDS)
    mine = [item for item in page["items"] if item["user_id"] == user]
    assert [(item["number"], item["outcome"], item["balance"]) for item in mine] == [
        (1, "posted", "5.00"),
        (2, "insufficient_funds", "5.00"),
        (3, "posted", "3.00"),
    ]
    assert page["more"] is False
    listed = client.get(f"/v1/user/{user}/transactions").json()["items"]
    assert mine == listed[::-1]


def test_pages_cover_the_log_and_continue_with_new_entries(client: httpx.Client) -> None:
    user = _user(client)
    shard = user % SHARDS
    for _ in range(5):
        _post(client, user, "DEPOSIT", "1")
    found: list[Any] = []
    after = 0
    while True:
        page = _page(client, shard=shard, after=after, limit=2)
        found += page["items"]
        assert page["reached"] > after
        after = page["reached"]
        if not page["more"]:
            break
    assert found == _page(client, shard=shard)["items"]
    assert _page(client, shard=shard, after=after) == {"items": [], "reached": after, "more": False}
    _post(client, user, "DEPOSIT", "7")
    (new,) = _page(client, shard=shard, after=after)["items"]
    assert new["amount"] == "7.00"


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ({}, "shard"),
        ({"shard": "64"}, "shard"),
        ({"shard": "-1"}, "shard"),
        ({"shard": "x"}, "shard"),
        ({"shard": "1", "after": "x"}, "after"),
        ({"shard": "1", "limit": "0"}, "limit"),
        ({"shard": "1", "user": "1"}, "user"),
    ],
)
def test_invalid_parameter_names_the_field(
    client: httpx.Client, query: dict[str, str], field: str
) -> None:
    answer = client.get("/v1/transactions", params=query)
    assert answer.status_code == 422
    assert field in answer.text
