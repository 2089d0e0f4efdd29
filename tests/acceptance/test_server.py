"""What the HTTP server answers itself, before any route: problems too."""

from __future__ import annotations

import asyncio
import json
import re
import socket
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import pytest

from saldo.http.problems import MEDIA_TYPE
from tests.acceptance.clients import Client
from tests.acceptance.service import ServiceProcess, service

CONNECTIONS = 4
SECONDS_MAX = 30
NOT_HTTP = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"nonsense\r\n\r\n"]


def _deposit(running: ServiceProcess, user_id: int) -> httpx.Response:
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    return httpx.post(f"{running.url}/v1/transaction", json=body)


async def _served(ask: Callable[[], Awaitable[int]]) -> int:
    """The status once it isn't a refusal: the server learns of a closed connection in its own time."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            status = await ask()
            if status != 503:
                return status


async def test_too_many_connections_are_a_problem_and_probes_still_answer(tmp_path: Path) -> None:
    with service(tmp_path, SALDO_CONNECTIONS_MAX=str(CONNECTIONS)) as running:

        async def post() -> httpx.Response:
            return await asyncio.to_thread(_deposit, running, first_id)

        async def status_of_post() -> int:
            return (await post()).status_code

        async def status_of_get(client: Client) -> int:
            return (await client.get(f"/v1/user/{first_id}"))[0]

        first_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        clients = [Client(running.url) for _ in range(CONNECTIONS)]
        for client in clients:
            assert await _served(partial(status_of_get, client)) == 200
        refused = await post()
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["content-type"] == MEDIA_TYPE
        assert refused.headers["connection"] == "close"
        assert refused.headers["retry-after"]
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        for path in ("/healthz/live", "/healthz/ready", "/healthz/startup", "/metrics"):
            assert httpx.get(f"{running.url}{path}").status_code == 200
        for client in clients:
            client.close()
        assert await _served(status_of_post) == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def user_id(running: ServiceProcess) -> int:
    created = httpx.post(f"{running.url}/v1/user", json={"name": "served"})
    return int(created.json()["id"])


def _exchange(running: ServiceProcess, sent: bytes, *, cut_off: bool = False) -> bytes:
    """Everything that comes back until the server closes the connection."""
    parts = urlsplit(running.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX) as raw:
        raw.sendall(sent)
        if cut_off:
            raw.shutdown(socket.SHUT_WR)
        received = b""
        while piece := raw.recv(4096):
            received += piece
    return received


def _post_bytes(user_id: int, uuid: UUID, *, version: str = "1.1", headers: str = "") -> bytes:
    content = {"uuid": str(uuid), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    body = json.dumps(content)
    head = f"POST /v1/transaction HTTP/{version}\r\nhost: localhost\r\n{headers}"
    return f"{head}content-length: {len(body)}\r\n\r\n{body}".encode()


def _answers(received: bytes) -> list[tuple[str, dict[str, str], Any]]:
    """Status line, headers and content of each answer."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        found.append((status, headers, json.loads(received[:length])))
        received = received[length:]
    return found


def test_requests_sent_at_once_are_answered_in_their_order(
    running: ServiceProcess, user_id: int
) -> None:
    uuids = [uuid4() for _ in range(5)]
    posts = b"".join(_post_bytes(user_id, uuid) for uuid in uuids)
    last = b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    *posted, probed = _answers(_exchange(running, posts + last))
    assert [content["uuid"] for _, _, content in posted] == [str(uuid) for uuid in uuids]
    assert {status for status, _, _ in posted} == {"HTTP/1.1 200 OK"}
    assert probed[1]["connection"] == "close"


@pytest.mark.parametrize(
    ("version", "headers"), [("1.1", "connection: close\r\n"), ("1.0", "")], ids=["close", "1.0"]
)
def test_a_client_that_keeps_no_connection_gets_its_answer_and_the_end(
    running: ServiceProcess, user_id: int, version: str, headers: str
) -> None:
    uuid = uuid4()
    sent = _post_bytes(user_id, uuid, version=version, headers=headers)
    ((status, answered, content),) = _answers(_exchange(running, sent))
    assert (status, content["uuid"]) == ("HTTP/1.1 200 OK", str(uuid))
    assert answered["connection"] == "close"


def test_every_answer_has_the_headers_of_http(running: ServiceProcess, user_id: int) -> None:
    posted = _deposit(running, user_id)
    asked = httpx.get(f"{running.url}/v1/transaction/{posted.json()['uuid']}")
    listed = httpx.get(f"{running.url}/v1/user/{user_id}")
    for answer in (posted, asked, listed):
        sent_at = parsedate_to_datetime(answer.headers["date"])
        assert abs(datetime.now(UTC) - sent_at) < timedelta(seconds=SECONDS_MAX)
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_a_problem(running: ServiceProcess, sent: bytes) -> None:
    received = _exchange(running, sent)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    answer = httpx.Response(400, content=body)
    assert f"content-type: {MEDIA_TYPE}".encode() in head
    assert f"content-length: {len(body)}".encode() in head
    assert (answer.json()["code"], answer.json()["status"]) == ("not_http", 400)


@pytest.mark.parametrize("path", ["/v1/user", "/v1/webhook", "/v1/transaction", "/v1/transactions"])
def test_a_client_that_goes_away_within_its_body_is_no_fault_of_ours(
    running: ServiceProcess, path: str
) -> None:
    """It can do so as often as it likes: neither 5xx in the metrics nor tracebacks in the log."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = f'{head}Content-Length: 100\r\n\r\n{{"name":'.encode()
    for _ in range(3):
        assert _exchange(running, sent, cut_off=True) == b""
    assert re.search(r'status="5\d\d"', httpx.get(f"{running.url}/metrics").text) is None
    assert "Traceback" not in running.output()
