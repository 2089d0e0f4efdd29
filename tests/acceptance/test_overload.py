"""More transactions than may wait: refused at once, whole, and without a trace; all else is answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from saldo.http.problems import MEDIA_TYPE
from saldo.store.embedded import EmbeddedServer
from saldo.store.statements import statement
from tests.acceptance.raw import (
    LAST,
    SECONDS_MAX,
    Answer,
    answers_of,
    chunked,
    connect,
    deposit,
    exchange,
)
from tests.acceptance.service import ServiceProcess, service

HEAD = b"POST /v1/transaction HTTP/1.1\r\nhost: localhost\r\n"


class Full:
    """A service whose one place in the queue is taken, by a deposit that no batch gets on with."""

    def __init__(
        self,
        running: ServiceProcess,
        lock: psycopg.Connection,
        waiting: socket.socket,
        user_id: int,
    ) -> None:
        self.url = running.url
        self.user_id = user_id
        self._lock = lock
        self._waiting = waiting
        lock.execute(statement("lock_all_shards"))
        self._waiting.sendall(post(deposit(user_id), b"connection: close\r\n"))
        # Ready again only when there is a place.
        _until(lambda: httpx.get(f"{running.url}/healthz/ready").status_code == 503)

    def let_go(self) -> Answer:
        """The batch gets on; what the deposit that waited is answered."""
        self._lock.rollback()
        (answer,) = answers_of(_read(self._waiting))
        _until(lambda: httpx.get(f"{self.url}/healthz/ready").status_code == 200)
        return answer


@pytest.fixture
def full(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[Full]:
    urls = {
        "SALDO_DATABASE_URL": own_server.service_url,
        "SALDO_DATABASE_OWNER_URL": own_server.owner_url,
    }
    with service(tmp_path, **urls, SALDO_QUEUE_REQUESTS_MAX="1") as running:
        user_id = httpx.post(f"{running.url}/v1/user", json={"name": "a"}).json()["id"]
        with psycopg.connect(own_server.service_url) as lock, connect(running.url) as waiting:
            yield Full(running, lock, waiting, user_id)


def post(body: bytes, headers: bytes = b"") -> bytes:
    """A whole request."""
    return HEAD + headers + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def test_one_too_many_is_refused_at_once_on_a_connection_that_stays(full: Full) -> None:
    refused, again, probe = answers_of(
        exchange_in_turn(full.url, [post(deposit(full.user_id))] * 2)
    )
    assert refused.status == again.status == 503
    assert probe.status == 200
    assert refused.headers["retry-after"] == "1"
    assert refused.headers["content-type"] == MEDIA_TYPE
    assert refused.headers["cache-control"] == "no-store"
    assert "connection" not in refused.headers
    assert refused.content["code"] == "overloaded"
    assert refused.content["request_id"] == refused.headers["x-request-id"]
    assert refused.headers["x-request-id"] != again.headers["x-request-id"]
    assert full.let_go().status == 200


@pytest.mark.parametrize(
    ("given", "echoed"), [(b"abc-1", True), (b"with space", False), (b"", False)]
)
def test_the_clients_own_id_comes_back(full: Full, given: bytes, echoed: bool) -> None:
    request = post(deposit(full.user_id), b"X-Request-Id: " + given + b"\r\n")
    for refused in answers_of(exchange_in_turn(full.url, [request, request]))[:2]:
        assert refused.status == 503
        assert (refused.headers["x-request-id"] == given.decode()) is echoed
        assert refused.content["request_id"] == refused.headers["x-request-id"]


def test_a_connection_that_is_to_end_ends(full: Full) -> None:
    (refused,) = answers_of(
        exchange(full.url, post(deposit(full.user_id), b"connection: close\r\n"))
    )
    assert (refused.status, refused.headers["connection"]) == (503, "close")


@pytest.mark.parametrize(
    "pieces",
    [
        lambda body: (post(body)[:20], post(body)[20:]),
        lambda body: (post(body)[: -len(body)], body),
        lambda body: (HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunked(body),),
        lambda body: (post(body, b"expect: 100-continue\r\n"),),
        lambda body: (post(body, b"upgrade: other\r\nconnection: upgrade\r\n"),),
        lambda body: (post(body + b" " * 20_000),),
    ],
    ids=["head in two", "head and body", "chunked", "expects", "upgrades", "large"],
)
def test_however_it_comes_it_is_refused(
    full: Full, pieces: Callable[[bytes], tuple[bytes, ...]]
) -> None:
    refused, probe = answers_of(exchange_in_turn(full.url, [*pieces(deposit(full.user_id))]))
    assert (refused.status, refused.content["code"], probe.status) == (503, "overloaded", 200)
    assert refused.headers["retry-after"] == "1"


def test_requests_sent_together_are_refused_in_order(full: Full) -> None:
    sent = [post(deposit(full.user_id), b"x-request-id: r%d\r\n" % number) for number in range(5)]
    *refused, probe = answers_of(exchange(full.url, b"".join(sent) + LAST))
    assert [each.headers["x-request-id"] for each in refused] == [f"r{n}" for n in range(5)]
    assert {each.status for each in refused} == {503}
    assert probe.status == 200


def test_whoever_asks_is_answered_meanwhile(full: Full) -> None:
    for path in ("/healthz/live", "/metrics", f"/v1/user/{full.user_id}/balance"):
        assert httpx.get(f"{full.url}{path}").status_code == 200
    # Not full for ever: what can't be read is told so when there is room.
    full.let_go()
    (wrong,) = answers_of(exchange(full.url, post(b"{", b"connection: close\r\n")))
    assert wrong.status == 422


def test_what_was_refused_left_no_trace_and_was_counted(full: Full) -> None:
    uuid = uuid4()
    content = {"uuid": str(uuid), "type": "DEPOSIT", "amount": "1", "user_id": full.user_id}
    with httpx.Client(base_url=full.url) as client:
        assert [client.post("/v1/transaction", json=content).status_code for _ in range(9)] == [
            503
        ] * 9
        full.let_go()
        assert client.get(f"/v1/transaction/{uuid}").status_code == 404
        posted = client.post("/v1/transaction", json=content)
        assert (posted.status_code, "idempotent-replayed" in posted.headers) == (200, False)
        _until(lambda: _metric(client, "saldo_requests_shed_total") == 9)
        assert _metric(client, "saldo_http_requests_total", status="503", method="POST") == 9


def exchange_in_turn(url: str, pieces: list[bytes]) -> bytes:
    """Sends the pieces one after the other, each when the last is on its way, and a probe; reads to the end."""
    with connect(url) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        received = b""
        for piece in [*pieces, LAST]:
            with _soon(connection):
                connection.sendall(piece)
                received += connection.recv(65536)
        return received + _read(connection)


@contextmanager
def _soon(connection: socket.socket) -> Iterator[None]:
    """What comes in answer to this, if anything does before more is sent."""
    connection.settimeout(0.2)
    try:
        yield
    except TimeoutError:
        pass
    finally:
        connection.settimeout(SECONDS_MAX)


def _read(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def _metric(client: httpx.Client, name: str, **labels: str) -> float:
    text = client.get("/metrics").text
    return sum(
        sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    )


def _until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_MAX
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
