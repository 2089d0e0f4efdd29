"""Pages of other origins: none may ask, until the operator names theirs."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from saldo.settings import WrongSettingsError, load
from tests.acceptance.raw import deposit
from tests.acceptance.service import ServiceProcess, service

SHOP, OTHER = "https://shop.example", "https://other.example"
ADMIN_KEY = "a-key-of-these-tests-0123456789-abcdef"
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {
        "SALDO_CORS_ORIGINS": f"{SHOP}, http://localhost:3000",
        "SALDO_ADMIN_KEY": ADMIN_KEY,
    }
    with service(tmp_path_factory.mktemp("cors"), **settings) as started:
        yield started


def page(running: ServiceProcess, origin: str, key: str = ADMIN_KEY) -> httpx.Client:
    """What a browser sends for a page's script."""
    headers = {"origin": origin, "authorization": f"Bearer {key}"}
    return httpx.Client(base_url=running.url, headers=headers)


def preflight(running: ServiceProcess, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    return httpx.options(f"{running.url}/v1/transaction", headers=headers)


def test_a_browser_is_told_before_it_asks(running: ServiceProcess) -> None:
    answer = preflight(running, SHOP)
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, SHOP)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    refused = preflight(running, OTHER)
    assert refused.status_code == 400 and ALLOWED not in refused.headers
    assert preflight(running, SHOP, "PUT").status_code == 400


def test_every_kind_of_answer_can_be_read_by_that_page_alone(running: ServiceProcess) -> None:
    with page(running, SHOP) as shop, page(running, OTHER) as other:
        user_id = shop.post("/v1/user", json={"name": str(uuid4())}).json()["id"]
        body = deposit(user_id)
        lines = {"content-type": "application/x-ndjson"}
        answers = [
            shop.post("/v1/transaction", content=body),
            shop.post("/v1/transaction", content=body),
            shop.post("/v1/transactions", content=deposit(user_id) + b"\n", headers=lines),
            shop.get(f"/v1/user/{user_id}/balance"),
            shop.get(f"/v1/user/{user_id}"),
            shop.get("/v1/user/0"),
            shop.get("/nothing"),
        ]
        with shop.stream("GET", "/v1/events") as events:
            answers.append(events)
        assert [answer.status_code for answer in answers] == [
            200,
            200,
            200,
            200,
            200,
            404,
            404,
            200,
        ]
        assert [answer.headers.get(ALLOWED) for answer in answers] == [SHOP] * len(answers)
        assert {answer.headers["vary"] for answer in answers} == {"Origin"}
        shown = answers[1].headers["access-control-expose-headers"].lower()
        assert (
            answers[1].headers["idempotent-replayed"] == "true" and "idempotent-replayed" in shown
        )
        assert ALLOWED not in other.get(f"/v1/user/{user_id}/balance").headers
    with page(running, SHOP, "wrong") as stranger:
        answer = stranger.get("/v1/user/1/balance")
        assert (answer.status_code, answer.headers[ALLOWED]) == (401, SHOP)
    # Not from a page at all.
    plain = httpx.get(f"{running.url}/v1/user", headers={"authorization": f"Bearer {ADMIN_KEY}"})
    assert plain.status_code == 200 and ALLOWED not in plain.headers


def test_without_a_key_the_pages_that_are_named_may_ask_and_no_others(tmp_path: Path) -> None:
    with service(tmp_path, SALDO_CORS_ORIGINS="http://localhost:3000") as running:
        for origin, status in (("http://localhost:3000", 200), (SHOP, 403)):
            answer = httpx.get(f"{running.url}/v1/user", headers={"origin": origin})
            assert answer.status_code == status, origin


@pytest.mark.parametrize("origins", ["*", "shop.example", "https://shop.example/", "null"])
def test_what_is_no_origin_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origins: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_CORS_ORIGINS", origins)
    with pytest.raises(WrongSettingsError, match=r"SALDO_CORS_ORIGINS.*expected origins such as"):
        load()
