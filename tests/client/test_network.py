"""Misbehaviour of a server on the network, for the client with threads and the one for asyncio."""

from __future__ import annotations

import asyncio
import socket
import ssl
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from importlib.util import find_spec
from typing import Any, TypeAlias

import pytest

from saldo.client import (
    AsyncClient,
    Client,
    Deposit,
    OutcomeUnknownError,
    Posted,
    Retries,
    SaldoError,
    UnavailableError,
)
from saldo.client.connection_options import create_tls_context

HASTY = Retries(timeout_seconds=0.2, attempt_seconds=0.2)
DRIP_SECONDS_MAX = 10
"""Time that a slow answer takes, in seconds: a client that waits for its end fails the test."""

Handler: TypeAlias = Callable[[socket.socket], None]
Ask: TypeAlias = Callable[[str, Retries, str, tuple[Any, ...]], object]


class Server:
    """A server that passes each connection to a handler after it has received a request."""

    def __init__(self) -> None:
        self.handler: Handler = lambda _: None
        self.asked = threading.Semaphore(0)
        self.ended = threading.Event()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._threads = [threading.Thread(target=self._run)]
        self._threads[0].start()

    def end(self) -> None:
        self.ended.set()
        self._socket.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        self._socket.close()

    def _run(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError):
            begun = b""
            while b"\r\n\r\n" not in begun:
                if not (data := connection.recv(65536)):
                    return
                begun += data
            self.asked.release()
            self.handler(connection)

    def stay_mute(self, _: socket.socket) -> None:
        """Send no answer."""
        self.ended.wait(DRIP_SECONDS_MAX)

    def drip(self, head: bytes, drop: bytes) -> None:
        """Send an answer byte by byte, without an end."""

        def handler(connection: socket.socket) -> None:
            connection.sendall(head)
            ends = time.monotonic() + DRIP_SECONDS_MAX
            while time.monotonic() < ends and not self.ended.wait(0.05):
                connection.sendall(drop)

        self.handler = handler


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    yield running
    running.end()


def _ask(url: str, retries: Retries, name: str, arguments: tuple[Any, ...]) -> object:
    with Client(url, retries=retries) as client:
        return getattr(client, name)(*arguments)


def _ask_of_asyncio(url: str, retries: Retries, name: str, arguments: tuple[Any, ...]) -> object:
    async def ask() -> object:
        async with AsyncClient(url, retries=retries) as client:
            answer: Awaitable[object] = getattr(client, name)(*arguments)
            return await answer

    return asyncio.run(ask())


both = pytest.mark.parametrize("ask", [_ask, _ask_of_asyncio])


@pytest.mark.parametrize("class_", [Client, AsyncClient])
@pytest.mark.parametrize(
    "url",
    [
        *("", "localhost", "localhost:8000", "ftp://x", "http://", "http://x:99999", "http://x:0"),
        *("http://x/?a=1", "http://x y", "/v1"),
    ],
)
def test_invalid_url_is_rejected(class_: type[Client | AsyncClient], url: str) -> None:
    with pytest.raises(ValueError, match="url must be an http or https URL, such as") as error:
        class_(url)
    assert repr(url) in str(error.value)


def test_a_password_in_a_wrong_url_is_not_shown() -> None:
    with pytest.raises(ValueError, match="url must be") as error:
        Client("me:secret@localhost")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize("class_", [Client, AsyncClient])
@pytest.mark.parametrize("key", ["", "secret\n", "se cret", "секрет", "secret\0", "\x7fsecret"])
def test_malformed_key_is_rejected_and_not_shown(
    class_: type[Client | AsyncClient], key: str
) -> None:
    with pytest.raises(
        ValueError, match="key must be an API key, as printed by `saldo keys create`"
    ) as error:
        class_(key=key)
    assert not key or key not in str(error.value)


@both
@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        ("post", (Deposit(1, 1),), OutcomeUnknownError),
        ("user", (1,), UnavailableError),
    ],
)
def test_endless_answer_times_out(
    server: Server, ask: Ask, name: str, arguments: tuple[Any, ...], expected: type[SaldoError]
) -> None:
    server.drip(b"HTTP/1.1 200 OK\r\ncontent-length: 100000\r\n\r\n", b" ")
    began = time.monotonic()
    with pytest.raises(expected) as error:
        ask(server.url, HASTY, name, arguments)
    assert type(error.value) is expected
    assert time.monotonic() - began < DRIP_SECONDS_MAX / 2


@pytest.mark.parametrize("status", [200, 502])
def test_writer_times_out_on_an_endless_answer(server: Server, status: int) -> None:
    head = b"HTTP/1.1 %d So\r\ntransfer-encoding: chunked\r\n\r\n" % status
    server.drip(head, b"1\r\n \r\n")
    began = time.monotonic()
    with Client(server.url, retries=HASTY) as client, client.writer() as writer:
        future = writer.deposit(1, 1)
    assert isinstance(future.exception(), OutcomeUnknownError)
    assert time.monotonic() - began < DRIP_SECONDS_MAX / 2


async def test_endless_headers_time_out(server: Server) -> None:
    server.drip(b"HTTP/1.1 200 OK\r\nx: ", b"x")
    began = time.monotonic()
    async with AsyncClient(server.url, retries=HASTY) as client:
        with pytest.raises(OutcomeUnknownError):
            await client.deposit(1, 1)
    assert time.monotonic() - began < DRIP_SECONDS_MAX / 2


NO_GZIP = b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 5\r\n\r\nabcde"


@both
def test_answer_with_invalid_gzip_counts_as_lost(server: Server, ask: Ask) -> None:
    server.handler = lambda connection: connection.sendall(NO_GZIP)
    request = Deposit(1, 1)
    with pytest.raises(OutcomeUnknownError) as error:
        ask(server.url, HASTY, "post", (request,))
    assert error.value.uuid == request.uuid
    with pytest.raises(UnavailableError):
        ask(server.url, HASTY, "user", (1,))


def test_invalid_gzip_counts_as_lost_for_writers_and_streams(server: Server) -> None:
    server.handler = lambda connection: connection.sendall(NO_GZIP)
    with Client(server.url, retries=HASTY) as client:
        with client.writer() as writer:
            future = writer.deposit(1, 1)
        assert isinstance(future.exception(), OutcomeUnknownError)
        with pytest.raises(UnavailableError):
            next(iter(client.events(timeout_seconds=0)))


def test_closing_during_posts_leaves_the_callers_their_uuids(server: Server) -> None:
    server.handler = server.stay_mute
    client = Client(server.url, retries=Retries(timeout_seconds=60, attempt_seconds=0.5))
    requests = [Deposit(1, 1) for _ in range(3)]
    with ThreadPoolExecutor() as threads:
        posting = [threads.submit(client.post, request) for request in requests]
        for _ in posting:
            server.asked.acquire()
        client.close()
        errors = [each.exception() for each in posting]
    assert [type(error) for error in errors] == [OutcomeUnknownError] * 3
    assert [getattr(error, "uuid", None) for error in errors] == [each.uuid for each in requests]
    with pytest.raises(RuntimeError, match="closed"):
        client.deposit(1, 1)
    with pytest.raises(RuntimeError, match="closed"):
        next(iter(client.events()))


async def test_closing_during_posts_leaves_the_callers_their_uuids_in_asyncio(
    server: Server,
) -> None:
    server.handler = server.stay_mute
    client = AsyncClient(server.url)
    requests = [Deposit(1, 1) for _ in range(3)]
    posting = [asyncio.ensure_future(client.post(request)) for request in requests]
    for _ in posting:
        await asyncio.to_thread(server.asked.acquire)
    await client.aclose()
    errors = await asyncio.gather(*posting, return_exceptions=True)
    assert [type(error) for error in errors] == [OutcomeUnknownError] * 3
    assert [getattr(error, "uuid", None) for error in errors] == [each.uuid for each in requests]


def test_hundred_streams_leave_connections_for_calls(server: Server) -> None:
    position = b"retry: 1\nid: v1.a\n\n"
    envelope = (
        b'data: {"id":"1","type":"saldo.user.created","time":"2026-11-24T12:00:00Z","data":{"id":1,'
        b'"name":"x","balance":"0.00","number":0,"created_at":"2026-11-24T12:00:00Z","shard":1,"seq":1}}\n\n'
    )

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"HTTP/1.1 200 OK\r\n\r\n" + position + envelope)
        server.ended.wait(DRIP_SECONDS_MAX)

    server.handler = handler
    with Client(server.url, retries=HASTY) as client:
        streams = [iter(client.events()) for _ in range(101)]
        assert {next(stream).id for stream in streams} == {"1"}
        posted = b'[{"line":1,"status":200,"code":"posted","uuid":"%s","balance":"1","number":1}]'
        request = Deposit(1, 1)
        answer = posted % str(request.uuid).encode()
        head = b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(answer)
        server.handler = lambda connection: connection.sendall(head + answer)
        (outcome,) = client.post_many([request])
        assert isinstance(outcome, Posted)
        server.ended.set()


NOBODY = "http://127.0.0.1:9"
FAR = "http://saldo.example:8000"


@pytest.fixture
def proxies(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Return a function that sets proxies for all URLs, after removing the machine's own."""
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)

    def set_up(url: str) -> None:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, url)

    return set_up


@both
@pytest.mark.parametrize("proxy", [NOBODY, "socks5://127.0.0.1:9"])
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_loopback_address_is_reached_without_the_proxy(
    server: Server, ask: Ask, proxies: Callable[[str], None], proxy: str, host: str
) -> None:
    proxies(proxy)
    body = b'{"id":1,"name":"a","balance":"0.00","created_at":"2026-01-01T00:00:00+00:00"}'
    head = f"HTTP/1.1 200 OK\r\ncontent-length: {len(body)}\r\n\r\n".encode()
    server.handler = lambda connection: connection.sendall(head + body)
    assert ask(server.url.replace("127.0.0.1", host), Retries(timeout_seconds=10), "user", (1,))


@both
def test_host_in_no_proxy_is_reached_without_the_proxy(
    monkeypatch: pytest.MonkeyPatch, ask: Ask, proxies: Callable[[str], None]
) -> None:
    proxies("socks5://127.0.0.1:9")
    monkeypatch.setenv("NO_PROXY", "saldo.example")
    # The host does not exist; the message must name the host and not a proxy.
    with pytest.raises(UnavailableError) as caught:
        ask(FAR, HASTY, "user", (1,))
    assert "proxy" not in str(caught.value).lower()


@both
def test_unreachable_proxy_is_named(ask: Ask, proxies: Callable[[str], None]) -> None:
    proxies(NOBODY)
    with pytest.raises(UnavailableError, match=r"through the proxy in HTTP_PROXY; NO_PROXY"):
        ask(FAR, HASTY, "user", (1,))


@both
@pytest.mark.parametrize("status", [403, 502])
def test_error_answer_of_a_proxy_names_the_proxy(
    server: Server, ask: Ask, proxies: Callable[[str], None], status: int
) -> None:
    proxies(server.url)
    answer = f"HTTP/1.1 {status} No\r\ncontent-length: 6\r\n\r\n<html>".encode()
    server.handler = lambda connection: connection.sendall(answer)
    with pytest.raises(SaldoError, match=r"status \d+ .*through the proxy in HTTP_PROXY; NO_PROXY"):
        ask(FAR, Retries(timeout_seconds=0.5), "user", (1,))


@pytest.mark.parametrize("class_", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("proxy", "told"),
    [
        (
            "socks5://me:secret@127.0.0.1:9",
            "ALL_PROXY names a SOCKS proxy, which requires .*socksio",
        ),
        ("nonsense://me:secret@proxy", "ALL_PROXY must name a proxy such as http://proxy.example"),
    ],
)
def test_unusable_proxy_setting_is_named_without_its_password(
    class_: type[Client | AsyncClient], proxies: Callable[[str], None], proxy: str, told: str
) -> None:
    if find_spec("socksio") is not None and proxy.startswith("socks"):
        pytest.skip("socksio is installed")
    proxies(proxy)
    with pytest.raises(ValueError, match=told) as caught:
        class_(FAR)
    assert "secret" not in str(caught.value)


def test_certificates_are_loaded_for_https_only() -> None:
    """Check that no certificates are loaded for http, since that takes longer than a call; then nothing is trusted."""
    plain = create_tls_context("http://localhost:8000")
    assert plain.get_ca_certs() == []
    assert (plain.verify_mode, plain.check_hostname) == (ssl.CERT_REQUIRED, True)
    secure = create_tls_context("https://saldo.example")
    assert secure.get_ca_certs() != []
    assert (secure.verify_mode, secure.check_hostname) == (ssl.CERT_REQUIRED, True)
    assert create_tls_context("https://saldo.example", plain) is plain
    assert create_tls_context("https://saldo.example", verify=False).verify_mode == ssl.CERT_NONE
