"""Deviations from HTTP by clients: each has one defined answer, and nothing is half posted."""

from __future__ import annotations

import contextlib
import json
import re
import socket
import threading
from collections.abc import Callable, Iterator
from uuid import uuid4

import httpx
import psutil
import pytest

from harness.program.service import ServiceProcess, run_service_process
from saldo.http.connection.header_checks import UNREPEATABLE_HEADERS
from tests.acceptance.raw import (
    FINAL_PROBE,
    PROBE,
    answers_of,
    connect,
    deposit,
    encode_chunked,
    exchange,
)

POST = b"POST /v1/transaction HTTP/1.1\r\nhost: localhost\r\n"
CHUNKED = b"transfer-encoding: chunked\r\n"
PIPELINED = 100_000
TURNS = 50
PIPELINED_BYTES_MAX = 64 * 1024 * 1024
"""Limit of the memory for many pipelined requests, in bytes; parsed requests would need several times that."""


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("wire")) as started:
        yield started
        assert "Traceback" not in started.output()
        assert '"error"' not in started.output()


@pytest.fixture
def user_id(shared_service: ServiceProcess) -> int:
    created = httpx.post(f"{shared_service.url}/v1/user", json={"name": str(uuid4())})
    return int(created.json()["id"])


def count_transactions(running: ServiceProcess, user_id: int) -> int:
    """Return the number of the user's transactions."""
    page = httpx.get(f"{running.url}/v1/user/{user_id}/transactions").json()
    return len(page["items"])


def with_length(body: bytes) -> bytes:
    return b"content-length: %d\r\n\r\n%b" % (len(body), body)


Sent = Callable[[bytes], bytes]
"""A function that makes the bytes to send from the body of a deposit."""

POSTS: list[tuple[str, Sent, int, int]] = [
    # name, bytes to send, status, number of posted transactions
    ("plain", lambda body: POST + with_length(body), 200, 1),
    ("chunked", lambda body: POST + CHUNKED + b"\r\n" + encode_chunked(body), 200, 1),
    (
        "many chunks",
        lambda body: POST
        + CHUNKED
        + b"\r\n"
        + b"".join(b"1\r\n%c\r\n" % byte for byte in body)
        + b"0\r\n\r\n",
        200,
        1,
    ),
    ("chunk extension", lambda body: POST + CHUNKED + b"\r\n" + encode_chunked(body, b";a=b"), 200, 1),
    (
        "chunk extension without end",
        lambda body: POST + CHUNKED + b"\r\n" + encode_chunked(body, b";a=" + b"b" * 100_000),
        431,
        0,
    ),
    (
        "trailer is no header",
        lambda body: POST
        + CHUNKED
        + b"\r\n"
        + encode_chunked(body, trailers=b"idempotency-key: a\r\ncontent-type: text/plain\r\n"),
        200,
        1,
    ),
    (
        "trailers without end",
        lambda body: POST
        + CHUNKED
        + b"\r\n"
        + encode_chunked(body, trailers=b"a: b\r\n" * 10_000),
        431,
        0,
    ),
    (
        "length and chunked",
        lambda body: POST + CHUNKED + b"content-length: 5\r\n\r\n" + encode_chunked(body),
        400,
        0,
    ),
    (
        "chunked and length",
        lambda body: POST + b"content-length: 5\r\n" + CHUNKED + b"\r\n" + encode_chunked(body),
        400,
        0,
    ),
    (
        "the same length twice",
        lambda body: POST + b"content-length: %d\r\n" % len(body) + with_length(body),
        400,
        0,
    ),
    ("two lengths", lambda body: POST + b"content-length: 3\r\n" + with_length(body), 400, 0),
    ("list of lengths", lambda body: POST + b"content-length: 5, 5\r\n\r\n" + body, 400, 0),
    ("length with a sign", lambda body: POST + b"content-length: +5\r\n\r\n" + body, 400, 0),
    ("negative length", lambda body: POST + b"content-length: -5\r\n\r\n" + body, 400, 0),
    ("length beyond all numbers", lambda _: POST + b"content-length: 9%b\r\n\r\n" % (b"9" * 30), 400, 0),
    ("length in hexadecimal", lambda body: POST + b"content-length: 0x5\r\n\r\n" + body, 400, 0),
    (
        "unknown coding",
        lambda body: POST + b"transfer-encoding: xchunked\r\n\r\n" + encode_chunked(body),
        400,
        0,
    ),
    (
        "chunked is not last",
        lambda body: POST + b"transfer-encoding: chunked, identity\r\n\r\n" + encode_chunked(body),
        400,
        0,
    ),
    (
        "chunked twice",
        lambda body: POST + CHUNKED + CHUNKED + b"\r\n" + encode_chunked(body),
        400,
        0,
    ),
    (
        "coding with a space",
        lambda body: POST + b"transfer-encoding : chunked\r\n\r\n" + encode_chunked(body),
        400,
        0,
    ),
    ("size is no number", lambda _: POST + CHUNKED + b"\r\nzz\r\n\r\n0\r\n\r\n", 400, 0),
    ("size in C", lambda body: POST + CHUNKED + b"\r\n0x" + encode_chunked(body), 400, 0),
    ("size beyond all numbers", lambda _: POST + CHUNKED + b"\r\n" + b"f" * 20 + b"\r\n", 400, 0),
    ("chunk is longer", lambda body: POST + CHUNKED + b"\r\n3\r\n" + body + b"\r\n0\r\n\r\n", 400, 0),
    (
        "chunks of bare line feeds",
        lambda body: POST + CHUNKED + b"\r\n" + encode_chunked(body).replace(b"\r\n", b"\n"),
        400,
        0,
    ),
    (
        "upgrade to HTTP/2 keeps its body",
        lambda body: POST
        + b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAM\r\n"
        + with_length(body),
        200,
        1,
    ),
    (
        "upgrade with chunks",
        lambda body: POST
        + b"connection: upgrade\r\nupgrade: websocket\r\n"
        + CHUNKED
        + b"\r\n"
        + encode_chunked(body),
        200,
        1,
    ),
    ("asks to go on", lambda body: POST + b"expect: 100-continue\r\n" + with_length(body), 200, 1),
    (
        "another type",
        lambda body: POST + b"content-type: text/plain\r\n" + with_length(body),
        415,
        0,
    ),
    (
        "encoded slash",
        lambda body: POST.replace(b"v1/", b"v1%2F") + with_length(body),
        404,
        0,
    ),
    ("two slashes", lambda body: POST.replace(b"v1/", b"v1//") + with_length(body), 404, 0),
    (
        "encoded letter",
        lambda body: POST.replace(b"v1/", b"%761/") + with_length(body),
        200,
        1,
    ),
    (
        "absolute URL",
        lambda body: POST.replace(b"/v1", b"http://elsewhere/v1") + with_length(body),
        200,
        1,
    ),
    ("too large", lambda body: POST + with_length(body + b" " * 70_000), 413, 0),
    ("too large, in chunks", lambda body: POST + CHUNKED + b"\r\n" + encode_chunked(body + b" " * 70_000), 413, 0),
    (
        "what follows is not HTTP",
        lambda body: POST + with_length(body) + b"\x00garbage\r\n\r\n",
        200,
        1,
    ),
]  # fmt: skip

CLOSING = {400, 431}
"""Statuses after which the connection can't be used any more; 400 only where the parser gives it."""


@pytest.mark.parametrize(
    ("sent", "status", "count"), [row[1:] for row in POSTS], ids=[row[0] for row in POSTS]
)
def test_ambiguous_post_gets_one_response_and_posts_at_most_once(
    shared_service: ServiceProcess, user_id: int, sent: Sent, status: int, count: int
) -> None:
    request = sent(deposit(user_id))
    first, *rest = answers_of(exchange(shared_service.url, request + FINAL_PROBE))
    assert first.status == status, first
    if request.endswith(b"garbage\r\n\r\n"):
        assert [answer.status for answer in rest] == [400]
    elif status in CLOSING:
        assert rest == []
        assert first.headers["connection"] == "close"
    else:
        assert [answer.status for answer in rest] == [200]
        assert rest[0].content == {"status": "ok"}
    assert count_transactions(shared_service, user_id) == count


@pytest.mark.parametrize("cut", [1, 20, 75])
def test_half_a_request_is_neither_answered_nor_posted(
    shared_service: ServiceProcess, user_id: int, cut: int
) -> None:
    request = POST + with_length(deposit(user_id))
    with connect(shared_service.url) as connection:
        connection.sendall(request[:-cut])
        connection.shutdown(1)
        assert connection.recv(1) == b""
    assert count_transactions(shared_service, user_id) == 0


def test_incomplete_next_request_is_not_a_server_error(shared_service: ServiceProcess) -> None:
    head = b"POST /v1/user HTTP/1.1\r\nhost: localhost\r\ncontent-length: 50\r\n\r\n"
    with connect(shared_service.url) as connection:
        connection.sendall(head + b'{"name')
        connection.shutdown(1)
        assert connection.recv(1) == b""
    metrics = httpx.get(f"{shared_service.url}/metrics").text
    assert not re.search(r'route="/v1/user",status="5', metrics)


HEADS = [
    # name, whole request, status, whether the connection stays open
    ("bare line feeds", b"GET /healthz/live HTTP/1.1\nhost: localhost\n\n", 400, False),
    ("bare carriage return", PROBE + b"a: b\rc: d\r\n\r\n", 400, False),
    ("folded", PROBE + b"a: b\r\n c\r\n\r\n", 400, False),
    ("space before the first header", b"GET /healthz/live HTTP/1.1\r\n host: localhost\r\n\r\n", 400, False),
    ("space before the colon", PROBE + b"a : b\r\n\r\n", 400, False),
    ("nul in a value", PROBE + b"a: b\x00c\r\n\r\n", 400, False),
    ("no host", b"GET /healthz/live HTTP/1.1\r\n\r\n", 400, True),
    ("no host in HTTP/1.0", b"GET /healthz/live HTTP/1.0\r\n\r\n", 200, False),
    ("two hosts", PROBE + b"host: other\r\n\r\n", 400, True),
    ("coding in HTTP/1.0", b"POST /v1/user HTTP/1.0\r\n" + CHUNKED + b"\r\n0\r\n\r\n", 400, False),
    ("compressed", b"POST /v1 HTTP/1.1\r\nhost: a\r\ntransfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 400, True),
    ("URL without a path", b"GET http://saldo HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, False),
    ("star of another method", b"GET * HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("tunnel", b"CONNECT saldo:80 HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, False),
    ("empty segment", b"GET //healthz/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("empty segment of an absolute URL", b"GET http://saldo//metrics HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("dots", b"GET /v1/../healthz/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("encoded dots", b"GET /v1/%2e%2E/healthz/live HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("encoded backslash", b"GET /v1%5cuser HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("nul in a path", b"GET /v1/transaction/%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("nul in a file's name", b"GET /docs/assets/%00 HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("a file outside", b"GET /docs/assets/../__init__.py HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("a file outside, encoded", b"GET /docs/assets/%2e%2e/__init__.py HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("a long file's name", b"GET /docs/assets/" + b"a" * 5000 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("not UTF-8", b"GET /v1/user/%ff%fe HTTP/1.1\r\nhost: localhost\r\n\r\n", 422, True),
    ("wrong escape", b"GET /v1/user/%zz HTTP/1.1\r\nhost: localhost\r\n\r\n", 422, True),
    ("not ASCII", "GET /v1/user/ü HTTP/1.1\r\nhost: localhost\r\n\r\n".encode(), 400, False),
    ("unknown method", b"FETCH /v1/user HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, False),
    ("method in small letters", b"get /v1/user HTTP/1.1\r\nhost: localhost\r\n\r\n", 400, False),
    ("another method", b"PROPFIND /v1/user HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, True),
    ("trace", b"TRACE /v1/user HTTP/1.1\r\nhost: localhost\r\n\r\n", 405, True),
    ("HTTP/0.9", b"GET /healthz/live\r\n\r\n", 400, False),
    ("HTTP/0.9, said", b"GET /healthz/live HTTP/0.9\r\nhost: localhost\r\n\r\n", 400, False),
    ("HTTP/1.2", b"GET /healthz/live HTTP/1.2\r\nhost: localhost\r\n\r\n", 400, False),
    ("HTTP/2 without a preface", b"GET /healthz/live HTTP/2.0\r\nhost: localhost\r\n\r\n", 400, False),
    ("preface of HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, False),
    ("upgrade", PROBE + b"connection: upgrade\r\nupgrade: websocket\r\n\r\n", 200, True),
    ("body of a GET", PROBE + b"content-length: 5\r\n\r\nhello", 200, True),
    ("empty lines first", b"\r\n\r\n" + PROBE + b"\r\n", 200, True),
    ("longest URL", b"GET /" + b"a" * 8191 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 404, True),
    ("URL one byte too long", b"GET /" + b"a" * 8192 + b" HTTP/1.1\r\nhost: localhost\r\n\r\n", 414, False),
    ("URL without end", b"GET /" + b"a" * 1_000_000, 414, False),
    ("most headers", PROBE + b"a: b\r\n" * 99 + b"\r\n", 200, True),
    ("one header too many", PROBE + b"a: b\r\n" * 100 + b"\r\n", 431, False),
    ("headers without end", PROBE + b"a: b\r\n" * 100_000, 431, False),
    ("long header", PROBE + b"a: " + b"b" * 16_000 + b"\r\n\r\n", 200, True),
    ("too long a header", PROBE + b"a: " + b"b" * 16_400 + b"\r\n\r\n", 431, False),
    ("value without end", PROBE + b"a: " + b"b" * 3_000_000, 431, False),
    ("name without end", PROBE + b"a" * 3_000_000, 431, False),
    ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400, False),
]  # fmt: skip


@pytest.mark.parametrize(
    ("sent", "status", "goes_on"), [row[1:] for row in HEADS], ids=[row[0] for row in HEADS]
)
def test_request_head_gets_its_response_and_later_data_is_parsed_correctly(
    shared_service: ServiceProcess, sent: bytes, status: int, goes_on: bool
) -> None:
    first, *rest = answers_of(exchange(shared_service.url, sent + FINAL_PROBE))
    assert first.status == status
    assert [answer.status for answer in rest] == ([200] if goes_on else [])
    if status >= 400:
        assert first.headers["content-type"] == "application/problem+json"
        assert first.content["request_id"] == first.headers["x-request-id"]


@pytest.mark.parametrize("name", [name.decode() for name in UNREPEATABLE_HEADERS])
def test_repeated_framing_header_is_rejected(
    shared_service: ServiceProcess, user_id: int, name: str
) -> None:
    twice = f"{name}: a\r\n{name.upper()}: b\r\n".encode()
    refused, last = answers_of(
        exchange(shared_service.url, POST + twice + with_length(deposit(user_id)) + FINAL_PROBE)
    )
    assert (refused.status, refused.content["code"], last.status) == (400, "wrong_header", 200)
    assert refused.content["errors"][0]["field"].lower() == name
    assert count_transactions(shared_service, user_id) == 0


def test_data_after_connect_or_upgrade_is_not_parsed_as_a_request(
    shared_service: ServiceProcess, user_id: int
) -> None:
    """Check that the body of an upgrade request is not taken for a request of its own."""
    inner = POST + with_length(deposit(user_id))
    outer = b"POST /v1/user HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n"
    answers = answers_of(exchange(shared_service.url, outer + with_length(inner), FINAL_PROBE))
    assert [answer.status for answer in answers] == [422, 200]
    assert count_transactions(shared_service, user_id) == 0


def test_upgrades_among_requests_sent_together_lose_nothing(
    shared_service: ServiceProcess, user_id: int
) -> None:
    upgrade = b"connection: upgrade\r\nupgrade: h2c\r\n"
    bodies = [deposit(user_id) for _ in range(100)]
    sent = b"".join(POST + upgrade + with_length(body) for body in bodies)
    answers = answers_of(exchange(shared_service.url, sent + FINAL_PROBE))
    assert [answer.status for answer in answers] == [200] * 101
    uuids = [json.loads(body)["uuid"] for body in bodies]
    assert [answer.content["uuid"] for answer in answers[:-1]] == uuids


def test_wrong_request_after_an_upgrade_gets_its_own_status(shared_service: ServiceProcess) -> None:
    upgrade = PROBE + b"connection: upgrade\r\nupgrade: h2c\r\n\r\n"
    sent = upgrade + PROBE + b"a: b\r\n" * 101 + b"\r\n"
    answers = answers_of(exchange(shared_service.url, sent))
    assert [answer.status for answer in answers] == [200, 431]


def test_a_body_may_come_long_after_its_head(shared_service: ServiceProcess, user_id: int) -> None:
    body = deposit(user_id)
    head = POST + b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body)
    with connect(shared_service.url) as connection:
        connection.sendall(head)
        assert connection.recv(100).startswith(b"HTTP/1.1 100 ")
        connection.sendall(body)
        assert connection.recv(20).startswith(b"HTTP/1.1 200 ")


def test_too_large_body_is_rejected_before_it_is_sent(shared_service: ServiceProcess) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(POST + b"expect: 100-continue\r\ncontent-length: 999999\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 413 ")


def _send(connection: socket.socket, data: bytes) -> None:
    with contextlib.suppress(OSError):  # closed at the end of the test
        connection.sendall(data)


def test_many_pipelined_requests_are_answered_with_bounded_memory(
    shared_service: ServiceProcess,
) -> None:
    process = psutil.Process(shared_service.process.pid)
    with connect(shared_service.url, receive_bytes=4096) as connection:
        before = process.memory_info().rss
        sending = threading.Thread(target=_send, args=(connection, (PROBE + b"\r\n") * PIPELINED))
        sending.start()
        for _ in range(TURNS):  # turns of the server's loop, at least, to read all that it wants to
            httpx.get(f"{shared_service.url}/healthz/live")
        assert process.memory_info().rss - before < PIPELINED_BYTES_MAX
    sending.join()
    answers = exchange(shared_service.url, (PROBE + b"\r\n") * 2000 + FINAL_PROBE)
    assert [answer.content for answer in answers_of(answers)] == [{"status": "ok"}] * 2001


def test_rejected_requests_are_counted_by_status(shared_service: ServiceProcess) -> None:
    def count(status: int) -> float:
        metrics = httpx.get(f"{shared_service.url}/metrics").text
        found = re.findall(rf'saldo_http_requests_total{{.*status="{status}"}} (\S+)', metrics)
        return sum(map(float, found))

    for status, sent in (
        (431, PROBE + b"a: b\r\n" * 200),
        (414, b"GET /" + b"a" * 9000),
        (400, b"x"),
    ):
        before = count(status)
        exchange(shared_service.url, sent + b"\r\n\r\n")
        assert count(status) == before + 1


def test_stream_with_broken_framing_gets_no_final_chunk(
    shared_service: ServiceProcess, user_id: int
) -> None:
    """Check that lines read before the broken chunk are posted and answered.

    The answer must not end properly, because its end would mean that everything was posted.
    """
    head = (
        b"POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
        + CHUNKED
        + b"\r\n"
    )
    line = deposit(user_id) + b"\n"
    with connect(shared_service.url) as connection:
        connection.sendall(head + b"%x\r\n%b\r\n" % (len(line), line))
        received = b""
        while b'"posted"' not in received:
            received += connection.recv(65536)
        connection.sendall(b"no chunk at all\r\n" + FINAL_PROBE)
        while piece := connection.recv(65536):
            received += piece
    assert not received.endswith(b"0\r\n\r\n")
    assert received.count(b"HTTP/1.1 ") == 1
    assert count_transactions(shared_service, user_id) == 1
    assert json.loads(deposit(user_id))["user_id"] == user_id
