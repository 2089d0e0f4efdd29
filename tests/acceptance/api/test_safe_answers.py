"""Safety of answers: security headers for browsers, and no internal details for anybody."""

from __future__ import annotations

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from harness import chromium
from harness.prerequisites import skip_or_fail
from harness.program.service import ServiceProcess, run_service_process
from saldo.store.embedded import EmbeddedServer
from tests.acceptance.raw import PROBE, answers_of, deposit, exchange

INTERNAL = re.compile(
    r"Traceback|File \"|\.py\b|/work/|/tmp/|/usr/|/root|site-packages|Exception|Error\b"
    r"|\bSELECT\b|\bINSERT\b|\bFROM\b|saldo\.(?:transactions|users|post)|asyncpg|postgres|uvicorn|litestar|msgspec"
    r"|127\.0\.0\.1|password",
)
"""Pattern of internal details that no answer may contain."""

BANNERS = ("server", "x-powered-by", "via")


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("safe")) as started:
        httpx.post(f"{started.url}/v1/user", json={"name": "user-7341"})
        yield started


def _stream(client: httpx.Client, path: str = "/v1/transactions") -> httpx.Response:
    headers = {"content-type": "application/x-ndjson"}
    return client.post(path, content=deposit(1) + b"\nnot JSON\n", headers=headers)


def answers(client: httpx.Client) -> list[httpx.Response]:
    """Return one answer of each kind."""
    body = deposit(1)
    posts = [
        body,  # 200
        body,  # the same again
        body.replace(b'"1"', b'"2"'),  # 409
        deposit(999),  # 404
        body.replace(b'"1"', b'"-1"'),
        b"{",
        b"\xff\xfe",
        b" " * 70_000,
        deposit(1).replace(b"DEPOSIT", b"WITHDRAW").replace(b'"1"', b'"99999"'),  # 402
        b'{"uuid": "' + b"'; DROP TABLE x; --" + b'"}',
    ]
    found = [client.post("/v1/transaction", content=post) for post in posts]
    found.append(client.post("/v1/transaction", content=body, headers={"content-type": "a/b"}))
    found.append(client.post("/v1/transactions", json=[]))
    found.append(client.post("/v1/transactions?atomic=maybe", json=[]))
    found.append(_stream(client))
    for path in (
        "/v1/user/1",
        "/v1/user/999",
        "/v1/user/x",
        "/v1/user/1/balance",
        "/v1/user/1/balance?date=never",
        "/v1/user/1/transactions",
        "/v1/user/1/transactions?cursor=wrong",
        f"/v1/transaction/{uuid4()}",
        "/v1/transaction/x",
        "/v1/events?user_id=x",
        "/v1/webhook/1",
        "/healthz/live",
        "/healthz/ready",
        "/metrics",
        "/openapi.json",
        "/docs",
        "/docs/start.js",
        "/docs/assets/swagger-ui.css",
        "/docs/assets/none.js",
        "/docs/assets/" + "a" * 5000,
        "/nothing",
    ):
        found.append(client.get(path))  # noqa: PERF401 - one of many ways to ask
    found.append(client.delete("/v1/user/1"))
    found.append(client.options("/v1/user/1", headers={"origin": "https://elsewhere.example"}))
    found.append(client.post("/v1/user", content=b"{"))
    found.append(client.post("/v1/user", json={"name": "user-7341"}))
    return found


def test_every_response_is_safe_in_a_browser(shared_service: ServiceProcess) -> None:
    with httpx.Client(base_url=shared_service.url) as client:
        found = answers(client)
    assert {200, 201, 402, 404, 405, 409, 413, 415, 422} - {a.status_code for a in found} <= {201}
    for answer in found:
        where = f"{answer.request.method} {answer.request.url.path} {answer.status_code}"
        assert answer.headers.get_list("x-content-type-options") == ["nosniff"], where
        asset = "etag" in answer.headers
        kept = ["no-cache"] if asset else ["no-store"]
        assert answer.headers.get_list("cache-control") == kept, where
        assert not any(name in answer.headers for name in BANNERS), where
        assert not any(name.startswith("access-control-") for name in answer.headers), where
        assert "strict-transport-security" not in answer.headers, where


def test_answers_of_the_http_server_itself_are_safe(shared_service: ServiceProcess) -> None:
    for sent in (b"\x00\r\n\r\n", PROBE + b"a: b\r\n" * 200 + b"\r\n", b"GET /" + b"a" * 9000):
        (answer,) = answers_of(exchange(shared_service.url, sent))
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cache-control"] == "no-store"
        assert "server" not in answer.headers
        assert not INTERNAL.search(str(answer.content))


def test_live_stream_is_neither_cached_nor_sniffed(shared_service: ServiceProcess) -> None:
    with httpx.stream("GET", f"{shared_service.url}/v1/events") as answer:
        assert answer.headers.get_list("cache-control") == ["no-store, no-transform"]
        assert answer.headers["x-content-type-options"] == "nosniff"


def _assert_nothing_internal(answer: httpx.Response) -> None:
    told = answer.text + str(answer.headers)
    assert not INTERNAL.search(told), INTERNAL.search(told)


def test_no_error_reveals_internal_details(shared_service: ServiceProcess) -> None:
    with httpx.Client(base_url=shared_service.url) as client:
        errors = [answer for answer in answers(client) if answer.status_code >= 400]
    assert len(errors) > 20
    for answer in errors:
        _assert_nothing_internal(answer)
    assert "Traceback" not in shared_service.output()


def test_response_reveals_nothing_about_an_unavailable_database(tmp_path: Path) -> None:
    server = EmbeddedServer(tmp_path / "own")
    server.start()
    try:
        with run_service_process(
            tmp_path,
            SALDO_DATABASE_URL=server.service_role_url,
            SALDO_DATABASE_OWNER_URL=server.owner_role_url,
            SALDO_REQUEST_DEADLINE_SECONDS="1",
            SALDO_READ_TIMEOUT_SECONDS="1",
            SALDO_SHUTDOWN_TIMEOUT_SECONDS="2",
        ) as running:
            httpx.post(f"{running.url}/v1/user", json={"name": "user-7341"})
            server.stop()
            with httpx.Client(base_url=running.url, timeout=60) as client:
                found = [
                    client.post("/v1/transaction", content=deposit(1)),
                    client.post("/v1/user", json={"name": "b"}),
                    client.get("/v1/user/1"),
                    client.get("/v1/user/1/balance"),
                    client.get("/v1/user/1/transactions"),
                    client.get(f"/v1/transaction/{uuid4()}"),
                    client.get("/v1/events"),
                    client.get("/v1/webhook"),
                    client.get("/healthz/ready"),
                    _stream(client),
                ]
    finally:
        server.stop()
    assert [answer.status_code for answer in found] == [503] * 9 + [200]
    assert '"status":503' in found[-1].text
    for answer in found:
        _assert_nothing_internal(answer)


class _Scripts(HTMLParser):
    """A parser that collects the scripts and styles of a page."""

    def __init__(self) -> None:
        super().__init__()
        self.sources: list[str | None] = []
        self.handlers: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "script":
            self.sources.append(dict(attrs).get("src"))
        self.handlers += [name for name, _ in attrs if name.startswith("on")]


def test_documentation_page_may_run_only_its_own_scripts(shared_service: ServiceProcess) -> None:
    answer = httpx.get(f"{shared_service.url}/docs")
    policy = dict(
        part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";")
    )
    assert policy["default-src"] == "'none'"
    assert policy["script-src"] == "'self'"
    assert policy["frame-ancestors"] == "'none'"
    assert "unsafe-eval" not in str(policy)
    assert answer.headers["referrer-policy"] == "no-referrer"
    page = _Scripts()
    page.feed(answer.text)
    assert page.handlers == []
    assert page.sources
    for source in page.sources:
        assert source is not None and source.startswith("/docs/")
        assert (
            httpx.get(f"{shared_service.url}{source}")
            .headers["content-type"]
            .startswith("text/javascript")
        )


def test_api_documentation_page_works_in_a_browser(
    shared_service: ServiceProcess, tmp_path: Path
) -> None:
    program = chromium.find()
    if program is None:
        skip_or_fail("chromium", "no chromium in PATH (Debian: package chromium)")
    page, said = chromium.render_page(program, f"{shared_service.url}/docs", tmp_path)
    assert "/v1/transaction" in page
    assert "opblock" in page
    assert "Content Security Policy" not in said, said
    assert "Refused to" not in said, said
