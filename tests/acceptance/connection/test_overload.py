"""Overload: further transactions are rejected at once, leaving no trace; other requests are answered."""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from uuid import uuid4

import httpx
import psycopg
import pytest
from prometheus_client.parser import text_string_to_metric_families

from harness.postgresql import databases
from harness.postgresql.databases import Database
from harness.program.service import ServiceProcess, run_service_process
from saldo.http.problems import MEDIA_TYPE
from saldo.store.embedded import EmbeddedServer
from saldo.store.statements import load_statement
from tests.acceptance.raw import (
    FINAL_PROBE,
    PROBE,
    SECONDS_MAX,
    Answer,
    answers_of,
    connect,
    deposit,
    encode_chunked,
    exchange,
)

HEAD = b"POST /v1/transaction HTTP/1.1\r\nhost: localhost\r\n"


class FullService:
    """A service whose queue has room for one request, which is occupied by a deposit whose batch is blocked."""

    def __init__(
        self,
        small_service: ServiceProcess,
        lock: psycopg.Connection,
        waiting: socket.socket,
        user_id: int,
    ) -> None:
        self.url = small_service.url
        self.user_id = user_id
        self._lock = lock
        self._waiting = waiting
        lock.execute(load_statement("ledger/lock_all_shards"))
        self._waiting.sendall(post(deposit(user_id), b"connection: close\r\n"))
        # The service is ready again only when the queue has room.
        _until(lambda: httpx.get(f"{small_service.url}/healthz/ready").status_code == 503)

    def let_go(self) -> Answer:
        """Unblock the batch and return the answer to the waiting deposit."""
        self._lock.rollback()
        (answer,) = answers_of(_read(self._waiting))
        _until(lambda: httpx.get(f"{self.url}/healthz/ready").status_code == 200)
        return answer


@pytest.fixture(scope="module")
def ledger(embedded_server: EmbeddedServer) -> Iterator[Database]:
    """Yield a ledger whose shards the tests lock."""
    with databases.create_embedded_database(embedded_server) as database:
        yield database


@pytest.fixture(scope="module")
def small_service(
    ledger: Database, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ServiceProcess]:
    urls = {
        "SALDO_DATABASE_URL": ledger.service_role_url,
        "SALDO_DATABASE_OWNER_URL": ledger.owner_role_url,
    }
    directory = tmp_path_factory.mktemp("service")
    with run_service_process(directory, **urls, SALDO_QUEUE_REQUESTS_MAX="1") as started:
        yield started


@pytest.fixture
def full(ledger: Database, small_service: ServiceProcess) -> Iterator[FullService]:
    name = str(uuid4())
    user_id = httpx.post(f"{small_service.url}/v1/user", json={"name": name}).json()["id"]
    with psycopg.connect(ledger.service_role_url) as lock, connect(small_service.url) as waiting:
        yield FullService(small_service, lock, waiting, user_id)
        lock.rollback()
        _until(lambda: httpx.get(f"{small_service.url}/healthz/ready").status_code == 200)


def post(body: bytes, headers: bytes = b"") -> bytes:
    """Return a complete request."""
    return HEAD + headers + b"content-length: %d\r\n\r\n%b" % (len(body), body)


def test_excess_request_is_rejected_at_once_and_the_connection_stays_open(
    full: FullService,
) -> None:
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


def test_rejection_above_the_limit_of_connections_closes_the_connection(
    ledger: Database, tmp_path: Path
) -> None:
    urls = {
        "SALDO_DATABASE_URL": ledger.service_role_url,
        "SALDO_DATABASE_OWNER_URL": ledger.owner_role_url,
    }
    limits = {"SALDO_QUEUE_REQUESTS_MAX": "1", "SALDO_CONNECTIONS_MAX": "2"}
    with run_service_process(tmp_path, **urls, **limits) as small:
        user_id = httpx.post(f"{small.url}/v1/user", json={"name": str(uuid4())}).json()["id"]
        with (
            psycopg.connect(ledger.service_role_url) as lock,
            connect(small.url) as waiting,
            connect(small.url) as second,
        ):
            full = FullService(small, lock, waiting, user_id)
            second.sendall(PROBE + b"\r\n")
            assert second.recv(65536).startswith(b"HTTP/1.1 200 ")
            # The answer must be followed by the end of the connection.
            (refused,) = answers_of(exchange(small.url, post(deposit(user_id))))
            assert (refused.status, refused.headers["connection"]) == (503, "close")
            assert full.let_go().status == 200


@pytest.mark.parametrize(
    ("given", "echoed"), [(b"abc-1", True), (b"with space", False), (b"", False)]
)
def test_rejection_contains_the_clients_request_id(
    full: FullService, given: bytes, echoed: bool
) -> None:
    request = post(deposit(full.user_id), b"X-Request-Id: " + given + b"\r\n")
    for refused in answers_of(exchange_in_turn(full.url, [request, request]))[:2]:
        assert refused.status == 503
        assert (refused.headers["x-request-id"] == given.decode()) is echoed
        assert refused.content["request_id"] == refused.headers["x-request-id"]


def test_rejection_closes_a_connection_on_request(full: FullService) -> None:
    (refused,) = answers_of(
        exchange(full.url, post(deposit(full.user_id), b"connection: close\r\n"))
    )
    assert (refused.status, refused.headers["connection"]) == (503, "close")


@pytest.mark.parametrize(
    "pieces",
    [
        lambda body: (post(body)[:20], post(body)[20:]),
        lambda body: (post(body)[: -len(body)], body),
        lambda body: (HEAD + b"transfer-encoding: chunked\r\n\r\n" + encode_chunked(body),),
        lambda body: (post(body, b"expect: 100-continue\r\n"),),
        lambda body: (post(body, b"upgrade: other\r\nconnection: upgrade\r\n"),),
        lambda body: (post(body + b" " * 20_000),),
    ],
    ids=["head in two", "head and body", "chunked", "expects", "upgrades", "large"],
)
def test_request_is_rejected_however_its_bytes_arrive(
    full: FullService, pieces: Callable[[bytes], tuple[bytes, ...]]
) -> None:
    refused, probe = answers_of(exchange(full.url, *pieces(deposit(full.user_id)), FINAL_PROBE))
    assert (refused.status, refused.content["code"], probe.status) == (503, "overloaded", 200)
    assert refused.headers["retry-after"] == "1"


def test_pipelined_requests_are_rejected_in_order(full: FullService) -> None:
    sent = [post(deposit(full.user_id), b"x-request-id: r%d\r\n" % number) for number in range(5)]
    *refused, probe = answers_of(exchange(full.url, b"".join(sent) + FINAL_PROBE))
    assert [each.headers["x-request-id"] for each in refused] == [f"r{n}" for n in range(5)]
    assert {each.status for each in refused} == {503}
    assert probe.status == 200


def test_other_requests_are_answered_under_overload(full: FullService) -> None:
    for path in ("/healthz/live", "/metrics", f"/v1/user/{full.user_id}/balance"):
        assert httpx.get(f"{full.url}{path}").status_code == 200
    # After the overload, a malformed request gets its normal error.
    full.let_go()
    (wrong,) = answers_of(exchange(full.url, post(b"{", b"connection: close\r\n")))
    assert wrong.status == 422


def test_rejected_requests_leave_no_trace_and_are_counted(full: FullService) -> None:
    uuid = uuid4()
    content = {"uuid": str(uuid), "type": "DEPOSIT", "amount": "1", "user_id": full.user_id}
    with httpx.Client(base_url=full.url) as client:
        shed, refused = _shed(client), _count_refusals(client)
        assert [client.post("/v1/transaction", json=content).status_code for _ in range(9)] == [
            503
        ] * 9
        full.let_go()
        assert client.get(f"/v1/transaction/{uuid}").status_code == 404
        posted = client.post("/v1/transaction", json=content)
        assert (posted.status_code, "idempotent-replayed" in posted.headers) == (200, False)
        _until(lambda: _shed(client) == shed + 9)
        assert _count_refusals(client) == refused + 9


def exchange_in_turn(url: str, requests: list[bytes]) -> bytes:
    """Send each request after the answer to the one before, then a probe, and return everything that comes back."""
    with connect(url) as connection:
        received = b""
        for number, request in enumerate([*requests, FINAL_PROBE], start=1):
            connection.sendall(request)
            # Every body here is one JSON object.
            while received.count(b"HTTP/1.1 ") < number or not received.endswith(b"}"):
                piece = connection.recv(65536)
                assert piece, received
                received += piece
        return received + _read(connection)


def _read(connection: socket.socket) -> bytes:
    received = b""
    while piece := connection.recv(65536):
        received += piece
    return received


def _shed(client: httpx.Client) -> float:
    return _metric(client, "saldo_requests_shed_total")


def _count_refusals(client: httpx.Client) -> float:
    return _metric(client, "saldo_http_requests_total", status="503", method="POST")


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
