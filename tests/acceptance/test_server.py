"""What the HTTP server answers itself, before any route: problems too."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit
from uuid import uuid4

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
            return await asyncio.to_thread(_deposit, running, user_id)

        async def status_of_post() -> int:
            return (await post()).status_code

        async def status_of_get(client: Client) -> int:
            return (await client.get(f"/v1/user/{user_id}"))[0]

        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        clients = [Client(running.url) for _ in range(CONNECTIONS)]
        for client in clients:
            assert await _served(partial(status_of_get, client)) == 200
        refused = await post()
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["content-type"] == MEDIA_TYPE
        assert refused.headers["connection"] == "close"
        assert refused.headers["retry-after"]
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        for path in ("/healthz/live", "/healthz/ready", "/metrics"):
            assert httpx.get(f"{running.url}{path}").status_code == 200
        for client in clients:
            client.close()
        assert await _served(status_of_post) == 200


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with service(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_what_is_not_http_is_a_problem(running: ServiceProcess, sent: bytes) -> None:
    parts = urlsplit(running.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0), SECONDS_MAX) as raw:
        raw.sendall(sent)
        received = b""
        while piece := raw.recv(4096):
            received += piece
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    answer = httpx.Response(400, content=body)
    assert f"content-type: {MEDIA_TYPE}".encode() in head
    assert f"content-length: {len(body)}".encode() in head
    assert (answer.json()["code"], answer.json()["status"]) == ("not_http", 400)
