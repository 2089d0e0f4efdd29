"""Answers of the HTTP server itself, before any route; these are problems, too."""

from __future__ import annotations

import asyncio
import json
import re
import socket
import struct
import time
from collections.abc import Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID, uuid4

import httpx
import psutil
import pytest

from harness.http_client import Client
from harness.program.service import ServiceProcess, run_service_process
from saldo.http.problems import MEDIA_TYPE

CONNECTIONS = 4
SECONDS_MAX = 30
NOT_HTTP = [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"GET\r\n\r\n", b"nonsense\r\n\r\n"]


def _deposit(running: ServiceProcess, user_id: int) -> httpx.Response:
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
    return httpx.post(f"{running.url}/v1/transaction", json=body)


async def _ask_until_served(ask: Callable[[], Awaitable[int]]) -> int:
    """Return the first status other than 503: the server notices a closed connection after a delay."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            status = await ask()
            if status != 503:
                return status


async def test_connections_beyond_the_limit_get_503_and_probes_are_answered(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_CONNECTIONS_MAX=str(CONNECTIONS)) as running:

        async def post() -> httpx.Response:
            return await asyncio.to_thread(_deposit, running, first_id)

        async def metrics() -> str:
            return (await asyncio.to_thread(httpx.get, f"{running.url}/metrics")).text

        async def status_of_post() -> int:
            return (await post()).status_code

        async def status_of_get(client: Client) -> int:
            return (await client.get(f"/v1/user/{first_id}"))[0]

        first_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        clients = [Client(running.url) for _ in range(CONNECTIONS)]
        for client in clients:
            assert await _ask_until_served(partial(status_of_get, client)) == 200
        refused = await post()
        assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
        assert refused.headers["content-type"] == MEDIA_TYPE
        assert refused.headers["connection"] == "close"
        assert refused.headers["retry-after"]
        assert refused.headers["x-request-id"] == refused.json()["request_id"]
        for path in ("/healthz/live", "/healthz/ready", "/healthz/startup", "/metrics"):
            assert httpx.get(f"{running.url}{path}").status_code == 200
        limit = f"saldo_http_connections_limit {CONNECTIONS}.0\n"
        async with asyncio.timeout(SECONDS_MAX):
            for open_ones in (CONNECTIONS, 0):  # connections are counted once a second
                while f"saldo_http_connections {open_ones}.0\n" not in (told := await metrics()):
                    await asyncio.sleep(0.1)
                assert limit in told
                for client in clients:
                    client.close()
        assert await _ask_until_served(status_of_post) == 200


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("server")) as started:
        yield started


@pytest.fixture(scope="module")
def user_id(shared_service: ServiceProcess) -> int:
    created = httpx.post(f"{shared_service.url}/v1/user", json={"name": "served"})
    return int(created.json()["id"])


def _exchange(running: ServiceProcess, sent: bytes, *, cut_off: bool = False) -> bytes:
    """Send bytes, and return everything that comes back until the server closes the connection."""
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
    """Return the status line, the headers and the content of each answer."""
    found = []
    while received:
        head, _, received = received.partition(b"\r\n\r\n")
        status, *lines = head.decode().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines)
        length = int(headers["content-length"])
        found.append((status, headers, json.loads(received[:length])))
        received = received[length:]
    return found


def test_pipelined_requests_are_answered_in_order(
    shared_service: ServiceProcess, user_id: int
) -> None:
    uuids = [uuid4() for _ in range(5)]
    posts = b"".join(_post_bytes(user_id, uuid) for uuid in uuids)
    last = b"GET /healthz/live HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n"
    *posted, probed = _answers(_exchange(shared_service, posts + last))
    assert [content["uuid"] for _, _, content in posted] == [str(uuid) for uuid in uuids]
    assert {status for status, _, _ in posted} == {"HTTP/1.1 200 OK"}
    assert probed[1]["connection"] == "close"


def test_client_with_connection_close_gets_its_answer_and_the_end(
    shared_service: ServiceProcess, user_id: int
) -> None:
    uuid = uuid4()
    sent = _post_bytes(user_id, uuid, headers="connection: close\r\n")
    ((status, answered, content),) = _answers(_exchange(shared_service, sent))
    assert (status, content["uuid"]) == ("HTTP/1.1 200 OK", str(uuid))
    assert answered["connection"] == "close"


def test_http_1_0_client_without_a_key_may_only_probe(
    shared_service: ServiceProcess, user_id: int
) -> None:
    """Check that without keys an HTTP/1.0 client may only probe: proxies that forward for strangers often use it."""
    probe = b"GET /healthz/live HTTP/1.0\r\nhost: localhost\r\n\r\n"
    post = _post_bytes(user_id, uuid4(), version="1.0")
    for sent, expected in ((probe, "HTTP/1.1 200 OK"), (post, "HTTP/1.1 403 Forbidden")):
        ((status, answered, _),) = _answers(_exchange(shared_service, sent))
        assert status == expected
        assert answered["connection"] == "close"


def test_every_answer_has_the_headers_of_http(shared_service: ServiceProcess, user_id: int) -> None:
    posted = _deposit(shared_service, user_id)
    asked = httpx.get(f"{shared_service.url}/v1/transaction/{posted.json()['uuid']}")
    listed = httpx.get(f"{shared_service.url}/v1/user/{user_id}")
    for answer in (posted, asked, listed):
        sent_at = parsedate_to_datetime(answer.headers["date"])
        assert abs(datetime.now(UTC) - sent_at) < timedelta(seconds=SECONDS_MAX)
        assert answer.headers["content-type"] == "application/json"
        assert int(answer.headers["content-length"]) == len(answer.content)
        assert answer.headers["x-request-id"]


@pytest.mark.parametrize("sent", NOT_HTTP)
def test_input_that_is_not_http_gets_a_problem(shared_service: ServiceProcess, sent: bytes) -> None:
    received = _exchange(shared_service, sent)
    head, _, body = received.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    answer = httpx.Response(400, content=body)
    assert f"content-type: {MEDIA_TYPE}".encode() in head
    assert f"content-length: {len(body)}".encode() in head
    assert (answer.json()["code"], answer.json()["status"]) == ("not_http", 400)


@pytest.mark.parametrize("path", ["/v1/user", "/v1/webhook", "/v1/transaction", "/v1/transactions"])
def test_disconnection_during_the_body_is_not_counted_as_an_error(
    shared_service: ServiceProcess, path: str
) -> None:
    """Break off requests repeatedly, and check that they cause neither 5xx in the metrics nor tracebacks in the log."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
    sent = f'{head}Content-Length: 100\r\n\r\n{{"name":'.encode()
    for _ in range(3):
        assert _exchange(shared_service, sent, cut_off=True) == b""
    assert re.search(r'status="5\d\d"', httpx.get(f"{shared_service.url}/metrics").text) is None
    assert "Traceback" not in shared_service.output()


def test_clients_that_reset_connections_cause_no_errors(
    shared_service: ServiceProcess, user_id: int
) -> None:
    """Reset connections after a head, within a line of a stream, and before a list is answered.

    None of them may cause a 5xx, an error in the log, or a connection that stays open.
    """
    process = psutil.Process(shared_service.process.pid)
    files_before = process.num_fds()
    head = b"POST /v1/%b HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/%b\r\n"
    line = _post_bytes(user_id, uuid4()).partition(b"\r\n\r\n")[2] + b"\n"
    chunk = b"transfer-encoding: chunked\r\n\r\n%x\r\n%b" % (len(line) + 9, line + b'{"uuid":"')
    abandoned = {
        head % (b"transaction", b"json") + b'content-length: 1000\r\n\r\n{"uuid":"1': 50,
        head % (b"transaction", b"json") + b"content-length: 1000\r\n\r\n": 20,
        head % (b"transactions", b"x-ndjson") + chunk: 10,
        b"GET /v1/user?limit=1000 HTTP/1.1\r\nhost: localhost\r\n\r\n": 20,
        _post_bytes(user_id, uuid4()): 20,
    }
    before = len(shared_service.output())
    for sent, count in abandoned.items():
        for number in range(count):
            parts = urlsplit(shared_service.url)
            with socket.create_connection((parts.hostname or "", parts.port or 0)) as raw:
                raw.sendall(sent)
                if number % 2:  # close with a reset
                    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    assert _deposit(shared_service, user_id).status_code == 200
    metrics = httpx.get(f"{shared_service.url}/metrics").text
    assert re.search(r'saldo_http_requests_total\{[^}]*status="5\d\d"', metrics) is None
    deadline = time.monotonic() + SECONDS_MAX
    while process.num_fds() > files_before + 10:  # some connections to the database are new
        assert time.monotonic() < deadline
        time.sleep(0.1)
    said = shared_service.output()[before:]
    assert "Traceback" not in said and '"level": "error"' not in said, said


def test_probe_that_has_closed_its_side_gets_no_answer_and_causes_no_error(tmp_path: Path) -> None:
    """Suspend the database, so that probes wait; each closes its side at once, like a probe whose timeout is over."""
    probe = b"GET /healthz/ready HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with run_service_process(tmp_path) as running:
        (pid_file,) = (tmp_path / "data").glob("*/postmaster.pid")
        postmaster = psutil.Process(int(pid_file.read_text().split()[0]))
        suspended = [postmaster, *postmaster.children()]
        for process in suspended:
            process.suspend()
        try:
            # The first probes may get the cached result.
            while (first := _exchange(running, probe, cut_off=True)) != b"":
                assert first.startswith(b"HTTP/1.1 200 ")
        finally:
            for process in suspended:
                process.resume()
        assert '"level": "error"' not in running.output()
