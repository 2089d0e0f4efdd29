"""HEAD, OPTIONS and `connection: close` on every path, as raw bytes, followed by another request."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Final
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process
from tests.acceptance.raw import FINAL_PROBE, PROBE, connect, deposit, read_to_end

ADMIN_KEY: Final = "a-key-of-these-tests-0123456789-abcdef"
OTHER_PATHS: Final = (
    *("/docs", "/docs/start.js", "/docs/openapi.json", "/docs/assets/swagger-ui.css"),
    *("/openapi.json", "/openapi-3.0.json"),
    *("/console", "/console/sign-in", "/console/users", "/console/live"),
)
UNKNOWN: Final = ("/nothing", "/docs/nothing", "/console/nothing", "/v1", "/", "/v1/userxyz")
METHODS: Final = {"GET", "HEAD", "POST", "PATCH", "DELETE", "OPTIONS"}


class Answer(dict[str, str]):
    """The headers of an answer, and its status and body."""

    def __init__(self, status: int, headers: dict[str, str], body: bytes) -> None:
        super().__init__(headers)
        self.status = status
        self.body = body


def answers_of(received: bytes, *methods: str) -> list[Answer]:
    """Parse the answers to requests with these methods, up to one that ends the connection.

    It fails if there are any other bytes.
    """
    found: list[Answer] = []
    for method in methods:
        head, blank, received = received.partition(b"\r\n\r\n")
        assert blank, (methods, head)
        status, *lines = head.decode().split("\r\n")
        fields = (line.partition(": ") for line in lines)
        headers = {name.lower(): value for name, _, value in fields}
        code = int(status.split(" ")[1])
        body = b""
        if method != "HEAD" and code != 204:
            if "content-length" not in headers:
                assert headers["transfer-encoding"] == "chunked"
                body, _, received = received.partition(b"\r\n0\r\n\r\n")
            else:
                length = int(headers["content-length"])
                body, received = received[:length], received[length:]
                assert len(body) == length
        found.append(Answer(code, headers, body))
        if headers.get("connection") == "close":
            break
    assert received == b"", (methods, received)
    return found


def request(method: str, path: str, key: str = "", more: str = "") -> bytes:
    opened = f"authorization: Bearer {key}\r\n" if key else ""
    return f"{method} {path} HTTP/1.1\r\nhost: localhost\r\n{opened}{more}\r\n".encode()


def exchange(running: ServiceProcess, sent: bytes) -> bytes:
    with connect(running.url) as connection:
        connection.sendall(sent)
        return read_to_end(connection)


def paths_of(running: ServiceProcess, user_id: int) -> dict[str, set[str]]:
    """Return the paths of the document, with the methods of each."""
    document = httpx.get(f"{running.url}/openapi.json").json()
    return {
        re.sub(r"\{user_id\}", str(user_id), re.sub(r"\{uuid\}", str(uuid4()), path))
        .replace("{webhook_id}", "1")
        .replace("{key_id}", "1"): {method.upper() for method in operations}
        for path, operations in document["paths"].items()
    }


@pytest.fixture(scope="module", params=["", ADMIN_KEY], ids=["without keys", "with keys"])
def shared_service(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    settings = {"SALDO_ADMIN_KEY": request.param} if request.param else {}
    with run_service_process(tmp_path_factory.mktemp("heads"), **settings) as started:
        started.key = request.param  # type: ignore[attr-defined]
        yield started


@pytest.fixture(scope="module")
def key(shared_service: ServiceProcess) -> str:
    found: str = shared_service.key  # type: ignore[attr-defined]
    return found


@pytest.fixture(scope="module")
def user_id(shared_service: ServiceProcess, key: str) -> int:
    headers = {"authorization": f"Bearer {key}"} if key else {}
    created = httpx.post(f"{shared_service.url}/v1/user", json={"name": "head"}, headers=headers)
    return int(created.json()["id"])


MAY_DIFFER = {"date", "x-request-id", "content-length", "set-cookie"}
"""Headers that may differ between two answers to the same request.

For example, a problem contains the request id, and a page sets a visitor's token.
"""


def test_head_is_processed_as_get_without_a_body(
    shared_service: ServiceProcess, key: str, user_id: int
) -> None:
    paths = [*paths_of(shared_service, user_id), *OTHER_PATHS, *UNKNOWN]
    assert len(paths) > 30
    for path in paths:
        wrong = {"wrong-key-0123456789-0123456789-xyz"} if path == "/v1/user" else set()
        for with_key in {"", key} | wrong:
            sent = request("HEAD", path, with_key) * 2 + FINAL_PROBE
            head, *others = answers_of(exchange(shared_service, sent), "HEAD", "HEAD", "GET")
            if head.get("content-type", "").startswith("text/event-stream"):
                assert (head.status, others) == (200, [])
                continue
            assert len(others) == 2, path
            sent = request("GET", path, with_key) + FINAL_PROBE
            get, _ = answers_of(exchange(shared_service, sent), "GET", "GET")
            assert head.status == get.status, path
            same = {name: value for name, value in head.items() if name not in MAY_DIFFER}
            assert same == {name: value for name, value in get.items() if name not in MAY_DIFFER}
            assert ("content-length" in head) == ("content-length" in get), path
            if b"request_id" not in get.body and path != "/metrics":
                assert head.get("content-length") == get.get("content-length"), path


WRONG_HEADS = {
    "host given twice": "host: other\r\n",
    "authorization given twice": "authorization: a\r\nauthorization: b\r\n",
    "a header too many": "a: b\r\n" * 101,
    "a header too long": "a: " + "b" * 20_000 + "\r\n",
    "not a header": "a b\r\n",
    "a coding": "transfer-encoding: gzip, chunked\r\n",
}


@pytest.mark.parametrize("more", WRONG_HEADS.values(), ids=WRONG_HEADS)
def test_rejected_head_request_gets_no_body(shared_service: ServiceProcess, more: str) -> None:
    received = exchange(shared_service, request("HEAD", "/v1/user/1", "", more) + FINAL_PROBE)
    head, _, rest = received.partition(b"\r\n\r\n")
    assert re.match(rb"HTTP/1.1 4\d\d ", head)
    assert rest == b"" or rest.startswith(b"HTTP/1.1 "), rest


@pytest.mark.parametrize("path", ["//v1/user", "/v1%2fuser", "/v1/user/%00"])
def test_head_request_of_an_ambiguous_path_gets_no_body(
    shared_service: ServiceProcess, path: str
) -> None:
    first, _ = answers_of(
        exchange(shared_service, request("HEAD", path) + FINAL_PROBE), "HEAD", "GET"
    )
    assert first.status == 404


def test_options_names_the_methods_of_every_route(
    shared_service: ServiceProcess, user_id: int, key: str
) -> None:
    for path, methods in paths_of(shared_service, user_id).items():
        answer, after = answers_of(
            exchange(shared_service, request("OPTIONS", path) + FINAL_PROBE), "", ""
        )
        assert (answer.status, after.status) == (204, 200), path
        expected = methods | {"OPTIONS"} | ({"HEAD"} if "GET" in methods else set())
        assert set(answer["allow"].split(", ")) == expected, path
        assert "content-length" not in answer
        other = "PUT" if key == "" else "TRACE"
        refused, _ = answers_of(
            exchange(shared_service, request(other, path, key) + FINAL_PROBE), "", ""
        )
        assert (refused.status, set(refused["allow"].split(", "))) == (405, expected), path
    for path in OTHER_PATHS:
        answer, _ = answers_of(
            exchange(shared_service, request("OPTIONS", path) + FINAL_PROBE), "", ""
        )
        assert answer.status == 204, path
        assert {"GET", "HEAD"} <= set(answer["allow"].split(", ")), path
    for path in UNKNOWN:
        answer, _ = answers_of(
            exchange(shared_service, request("OPTIONS", path) + FINAL_PROBE), "", ""
        )
        assert (answer.status, json.loads(answer.body)["code"]) == (404, "not_found"), path


def test_options_of_the_whole_server(shared_service: ServiceProcess) -> None:
    answer, after = answers_of(
        exchange(shared_service, request("OPTIONS", "*") + FINAL_PROBE), "", ""
    )
    assert (answer.status, after.status) == (204, 200)
    assert set(answer["allow"].split(", ")) == METHODS


def test_half_closed_client_gets_its_answer(
    shared_service: ServiceProcess, key: str, user_id: int
) -> None:
    """Half-close the connection after the requests, as `nc -N` does: complete requests are answered, others are not."""
    whole = _post(user_id, key)
    for sent, count in ((whole, 1), (whole + _post(user_id, key), 2), (whole + PROBE, 1)):
        with connect(shared_service.url) as connection:
            connection.sendall(sent)
            connection.shutdown(socket.SHUT_WR)
            answers = answers_of(read_to_end(connection), *["POST"] * count)
        assert [answer.status for answer in answers] == [200] * count
    with connect(shared_service.url) as connection:
        connection.sendall(whole[:-1])
        connection.shutdown(socket.SHUT_WR)
        assert read_to_end(connection) == b""


def _post(user_id: int, key: str) -> bytes:
    body = deposit(user_id)
    more = f"content-type: application/json\r\ncontent-length: {len(body)}\r\n"
    return request("POST", "/v1/transaction", key, more) + body


def test_connections_beyond_the_limit_are_closed_and_earlier_ones_stay(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_CONNECTIONS_MAX="2") as running:
        with connect(running.url) as first, connect(running.url) as second:
            for each in (first, second):
                each.sendall(PROBE + b"\r\n")
                assert each.recv(65536).startswith(b"HTTP/1.1 200 ")
            for method in ("HEAD", "GET", "POST"):
                with connect(running.url) as third:
                    # No part of the request's body is sent: the answer must come, and then the end of the connection.
                    more = "content-length: 10\r\n" if method == "POST" else ""
                    third.sendall(request(method, "/v1/user", "", more))
                    (answer,) = answers_of(read_to_end(third), method)
                    assert (answer.status, answer["connection"]) == (503, "close")
            first.sendall(request("GET", "/v1/user"))
            assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        metrics = httpx.get(f"{running.url}/metrics").text
        for method in ("HEAD", "GET", "POST"):
            labels = f'method="{method}",route="/v1/user",status="503"'
            assert f"saldo_http_requests_total{{{labels}}} 1.0" in metrics


def test_every_answer_beyond_the_limit_closes_its_connection(tmp_path: Path) -> None:
    """Send each kind of request, also those that the limit exempts: a client must not keep connections with them."""
    answers = {
        request("GET", "/healthz/live"): 200,
        request("HEAD", "/healthz/ready"): 200,
        request("GET", "/metrics"): 200,
        request("GET", "//healthz/live"): 404,
        request("GET", "/v1%2fuser"): 404,
        request("GET", "/nothing"): 503,
        request("OPTIONS", "/v1/user"): 503,
        request("GET", "/v1/user") * 3: 503,
        request("GET", "/healthz/live") * 3: 200,
        request("GET", "/v1/user", more="connection: upgrade\r\nupgrade: h2c\r\n"): 503,
        b"GET /healthz/live HTTP/1.0\r\nhost: localhost\r\nconnection: keep-alive\r\n\r\n": 200,
        request("GET", "/v1/user", more="not a header\r\n"): 400,
    }
    with (
        run_service_process(tmp_path, SALDO_CONNECTIONS_MAX="1") as running,
        connect(running.url) as first,
    ):
        first.sendall(PROBE + b"\r\n")
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
        for sent, status in answers.items():
            received = exchange(running, sent)
            assert received.startswith(b"HTTP/1.1 %d " % status), sent
            assert received.count(b"HTTP/1.1 ") == 1, sent
            assert b"\r\nconnection: close\r\n" in received, sent
        first.sendall(request("GET", "/v1/user"))
        assert first.recv(65536).startswith(b"HTTP/1.1 200 ")
