"""Slow clients: the timeout of each phase, the answer to a slow client, and clients that are not slow."""

from __future__ import annotations

import json
import re
import select
import socket
import time
from collections.abc import Iterator
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process
from saldo.http.connection.timeout_sweeper import DISCARD_BYTES_MAX
from tests.acceptance.raw import (
    FINAL_PROBE,
    PROBE,
    Answer,
    answers_of,
    connect,
    deposit,
    read_to_end,
)

POST = b"POST /v1/transaction HTTP/1.1\r\nhost: localhost\r\n"
STREAM = (
    b"POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/x-ndjson\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)
LIMIT_SECONDS = 1
TRICKLE_INTERVAL_SECONDS = 0.3
"""Pause between two bytes of a slow client, in seconds."""

TRICKLE_COUNT = 12
"""Number of pauses that take far longer than the timeout and the sweep interval together."""


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    limit = str(LIMIT_SECONDS)
    with run_service_process(
        tmp_path_factory.mktemp("slow"),
        SALDO_HEADER_TIMEOUT_SECONDS=limit,
        SALDO_BODY_TIMEOUT_SECONDS=limit,
        SALDO_STREAM_IDLE_TIMEOUT_SECONDS=limit,
        SALDO_RESPONSE_WRITE_TIMEOUT_SECONDS=limit,
    ) as started:
        yield started
        assert "Traceback" not in started.output()


@pytest.fixture
def user_id(shared_service: ServiceProcess) -> int:
    created = httpx.post(f"{shared_service.url}/v1/user", json={"name": str(uuid4())})
    return int(created.json()["id"])


def count_transactions(running: ServiceProcess, user_id: int) -> int:
    page = httpx.get(f"{running.url}/v1/user/{user_id}/transactions?limit=1000").json()
    return len(page["items"])


def cut(running: ServiceProcess, phase: str) -> float:
    """Return the number of connections that timed out in this phase."""
    text = httpx.get(f"{running.url}/metrics").text
    found = re.search(rf'connection_timeouts_total{{phase="{phase}"}} (\S+)', text)
    return 0 if found is None else float(found[1])


def in_time(connection: socket.socket) -> bool:
    """Return whether an answer arrives before the next byte is due."""
    return bool(select.select([connection], [], [], TRICKLE_INTERVAL_SECONDS)[0])


def trickle(connection: socket.socket, piece: bytes) -> None:
    """Send the piece again and again until the server answers."""
    deadline = time.monotonic() + 60
    try:
        while not in_time(connection):
            assert time.monotonic() < deadline
            connection.sendall(piece)
    except (BrokenPipeError, ConnectionResetError):
        pass


def read_until(connection: socket.socket, end: bytes) -> bytes:
    """Read until an answer with this end is complete; the service would keep the connection open for some seconds."""
    received = b""
    while not received.endswith(end):
        piece = connection.recv(65536)
        assert piece, received
        received += piece
    return received


def chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


def assert_too_slow(answer: Answer) -> None:
    assert (answer.status, answer.content["code"]) == (408, "too_slow")
    assert answer.headers["connection"] == "close"


@pytest.mark.parametrize("piece", [b"", b"\r\n"], ids=["silent", "empty lines"])
def test_idle_connection_is_closed_without_a_response(
    shared_service: ServiceProcess, piece: bytes
) -> None:
    before = cut(shared_service, "head")
    with connect(shared_service.url) as connection:
        trickle(connection, piece)
        assert read_to_end(connection) == b""
    assert cut(shared_service, "head") == before + 1


@pytest.mark.parametrize("piece", [b"", b"a: b\r\n"], ids=["silent", "a header at a time"])
def test_slow_head_gets_a_timeout_response(shared_service: ServiceProcess, piece: bytes) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(PROBE)
        trickle(connection, piece)
        (answer,) = answers_of(read_to_end(connection))
    assert_too_slow(answer)


def test_timeout_of_a_second_head_follows_the_first_answer(
    shared_service: ServiceProcess,
) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(PROBE + b"\r\n" + PROBE)
        first, second = answers_of(read_to_end(connection))
    assert first.status == 200
    assert_too_slow(second)


@pytest.mark.parametrize("piece", [b"", b" "], ids=["silent", "a byte at a time"])
@pytest.mark.parametrize("path", ["transaction", "transactions", "user"])
def test_slow_body_is_not_processed(
    shared_service: ServiceProcess, user_id: int, path: str, piece: bytes
) -> None:
    body = deposit(user_id)
    before = cut(shared_service, "body")
    with connect(shared_service.url) as connection:
        head = POST.replace(b"transaction", path.encode())
        connection.sendall(head + b"content-length: 9999\r\n\r\n" + body)
        trickle(connection, piece)
        (answer,) = answers_of(read_to_end(connection))
    assert_too_slow(answer)
    assert cut(shared_service, "body") == before + 1
    assert count_transactions(shared_service, user_id) == 0


def test_stalled_stream_ends_with_a_problem_in_its_last_line(
    shared_service: ServiceProcess, user_id: int
) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(STREAM + chunk(deposit(user_id) + b"\n") + chunk(b'{"uuid'))
        received = read_until(connection, b"0\r\n\r\n")
    first, last = re.findall(rb"^{.*}$", received, re.MULTILINE)
    assert json.loads(first)["status"] == 200
    content = json.loads(last)
    assert (content["status"], content["code"]) == (408, "too_slow")
    assert count_transactions(shared_service, user_id) == 1


def test_stream_that_never_begins_gets_a_timeout_problem(shared_service: ServiceProcess) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(STREAM)
        received = read_until(connection, b"}")
        connection.shutdown(socket.SHUT_WR)  # otherwise the service would read on for some seconds
        assert read_to_end(connection) == b""
    (answer,) = answers_of(received)
    assert (answer.status, answer.content["code"]) == (408, "too_slow")


def test_occasional_empty_lines_keep_a_stream_open(
    shared_service: ServiceProcess, user_id: int
) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(STREAM + chunk(b"\n"))
        assert connection.recv(15).startswith(b"HTTP/1.1 200 ")
        for _ in range(TRICKLE_COUNT):
            connection.sendall(chunk(b"\n"))
            in_time(connection)  # only the head of the answer has arrived
            time.sleep(TRICKLE_INTERVAL_SECONDS)
        connection.sendall(chunk(deposit(user_id) + b"\n") + b"0\r\n\r\n" + FINAL_PROBE)
        received = read_to_end(connection)
    assert b'"posted"' in received
    assert received.endswith(b'{"status":"ok"}')


def test_streaming_client_may_read_after_sending_everything(
    shared_service: ServiceProcess, user_id: int
) -> None:
    """Send until the answers fill the socket buffers, and read none of them before everything is sent."""
    lines = 5000
    with connect(shared_service.url, receive_bytes=4096) as connection:
        connection.sendall(STREAM)
        for _ in range(lines // 100):
            connection.sendall(chunk(b"".join(deposit(user_id) + b"\n" for _ in range(100))))
        for _ in range(TRICKLE_COUNT):
            connection.sendall(chunk(deposit(user_id) + b"\n"))
            time.sleep(TRICKLE_INTERVAL_SECONDS)
        connection.sendall(b"0\r\n\r\n" + FINAL_PROBE)
        received = read_to_end(connection)
    assert received.count(b'"posted"') == lines + TRICKLE_COUNT
    assert received.endswith(b'{"status":"ok"}')


def test_client_that_reads_no_response_is_disconnected(shared_service: ServiceProcess) -> None:
    before = cut(shared_service, "answer")
    asset = b"GET /docs/assets/swagger-ui-bundle.js HTTP/1.1\r\nhost: localhost\r\n\r\n"
    with connect(shared_service.url, receive_bytes=4096) as connection:
        connection.sendall(asset * 20)
        deadline = time.monotonic() + 60
        while cut(shared_service, "answer") == before:
            assert time.monotonic() < deadline
            time.sleep(TRICKLE_INTERVAL_SECONDS)
        received = read_to_end(connection)
    assert received.count(b"HTTP/1.1 200 OK") < 20


def test_client_that_keeps_sending_after_its_answer_is_cut(shared_service: ServiceProcess) -> None:
    before = cut(shared_service, "end")
    with connect(shared_service.url) as connection:
        connection.sendall(POST + b"content-length: 99999999\r\n\r\n")
        assert connection.recv(20).startswith(b"HTTP/1.1 413 ")
        while connection.recv(65536):
            if not in_time(connection):
                break
        trickle(connection, b" ")
        assert read_to_end(connection) == b""
    assert cut(shared_service, "end") == before + 1


def test_discarded_input_is_limited(shared_service: ServiceProcess) -> None:
    with connect(shared_service.url) as connection:
        connection.sendall(POST + b"content-length: %d\r\n\r\n" % (10 * DISCARD_BYTES_MAX))
        sent = 0
        try:
            while sent < 10 * DISCARD_BYTES_MAX:
                sent += connection.send(b" " * 65536)
        except OSError:
            pass
    assert sent < 2 * DISCARD_BYTES_MAX


def test_rejected_client_gets_the_reason_while_still_sending(
    shared_service: ServiceProcess,
) -> None:
    """Check that a rejected request is read to its end: closing with unread bytes would discard the answer."""
    with connect(shared_service.url) as connection:
        connection.sendall(PROBE + b"a: b\r\n" * 500_000)
        (answer,) = answers_of(read_to_end(connection))
    assert answer.status == 431
