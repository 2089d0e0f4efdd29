"""Requests from pages of other origins: rejected until the operator allows the origin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process
from saldo.settings.environment import SettingsError
from saldo.settings.model import load_settings
from tests.acceptance.raw import deposit

SHOP, OTHER = "https://shop.example", "https://other.example"
ADMIN_KEY = "a-key-of-these-tests-0123456789-abcdef"
ALLOWED = "access-control-allow-origin"


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    settings = {
        "SALDO_CORS_ORIGINS": f"{SHOP}, http://localhost:3000",
        "SALDO_ADMIN_KEY": ADMIN_KEY,
    }
    with run_service_process(tmp_path_factory.mktemp("cors"), **settings) as started:
        yield started


def page(running: ServiceProcess, origin: str, key: str = ADMIN_KEY) -> httpx.Client:
    """Return a client that sends the headers that a browser adds to the requests of a page."""
    headers = {"origin": origin, "authorization": f"Bearer {key}"}
    return httpx.Client(base_url=running.url, headers=headers)


def preflight(running: ServiceProcess, origin: str, method: str = "POST") -> httpx.Response:
    headers = {
        "origin": origin,
        "access-control-request-method": method,
        "access-control-request-headers": "authorization,content-type,idempotency-key",
    }
    return httpx.options(f"{running.url}/v1/transaction", headers=headers)


def test_preflight_request_is_answered(shared_service: ServiceProcess) -> None:
    answer = preflight(shared_service, SHOP)
    assert (answer.status_code, answer.headers[ALLOWED]) == (200, SHOP)
    assert "POST" in answer.headers["access-control-allow-methods"]
    assert "authorization" in answer.headers["access-control-allow-headers"].lower()
    assert "access-control-allow-credentials" not in answer.headers
    refused = preflight(shared_service, OTHER)
    assert refused.status_code == 400 and ALLOWED not in refused.headers
    assert preflight(shared_service, SHOP, "PUT").status_code == 400


def test_all_headers_that_a_client_sends_are_allowed(shared_service: ServiceProcess) -> None:
    """Check the headers for retries and resumable streams, and those that tracing in a browser adds."""
    names = [
        *("authorization", "content-type", "idempotency-key", "x-request-id"),
        *("traceparent", "tracestate", "last-event-id"),
    ]
    headers = {
        "origin": SHOP,
        "access-control-request-method": "POST",
        "access-control-request-headers": ",".join(names),
    }
    answer = httpx.options(f"{shared_service.url}/v1/transaction", headers=headers)
    assert answer.status_code == 200
    allowed = answer.headers["access-control-allow-headers"].lower().split(", ")
    assert set(names) <= set(allowed)
    for origin in (OTHER, "null"):
        refused = httpx.options(
            f"{shared_service.url}/v1/transaction", headers=headers | {"origin": origin}
        )
        assert refused.status_code == 400 and ALLOWED not in refused.headers


def test_only_pages_of_the_configured_origins_can_read_responses(
    shared_service: ServiceProcess,
) -> None:
    with page(shared_service, SHOP) as shop, page(shared_service, OTHER) as other:
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
    with page(shared_service, SHOP, "wrong") as stranger:
        answer = stranger.get("/v1/user/1/balance")
        assert (answer.status_code, answer.headers[ALLOWED]) == (401, SHOP)
    # This request is not from a page.
    plain = httpx.get(
        f"{shared_service.url}/v1/user", headers={"authorization": f"Bearer {ADMIN_KEY}"}
    )
    assert plain.status_code == 200 and ALLOWED not in plain.headers


def test_without_a_key_the_pages_that_are_named_may_ask_and_no_others(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_CORS_ORIGINS="http://localhost:3000") as running:
        for origin, status in (("http://localhost:3000", 200), (SHOP, 403)):
            answer = httpx.get(f"{running.url}/v1/user", headers={"origin": origin})
            assert answer.status_code == status, origin


@pytest.mark.parametrize("origins", ["*", "shop.example", "https://shop.example/", "null"])
def test_invalid_origin_setting_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, origins: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_CORS_ORIGINS", origins)
    with pytest.raises(SettingsError, match=r"SALDO_CORS_ORIGINS.*expected origins such as"):
        load_settings()
