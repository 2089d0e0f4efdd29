"""One delivery attempt: every answer counts, no message contains the URL, only allowed destinations are reached."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network

import pytest

from harness.events.webhook_receiver import Receiver, build_response, respond_always, run_receiver
from saldo.events.event import TRANSACTION_POSTED, Event
from saldo.relay.webhooks import http_sender as sending
from saldo.relay.webhooks.destinations import DestinationPolicy
from saldo.relay.webhooks.http_sender import HttpSender

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"
TOKEN = "T0KENT0KEN"
QUERY = "q5ecretq5ecret"
EVENT = Event("an-id", TRANSACTION_POSTED, 1, 1, 1, 1, 1, b"{}")
HERE = DestinationPolicy(allow_private=True, allow_http=True)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with run_receiver() as found:
        yield found


@asynccontextmanager
async def sending_to(destinations: DestinationPolicy = HERE) -> AsyncIterator[HttpSender]:
    async with HttpSender(timeout_seconds=5, destinations=destinations) as sender:
        yield sender


@pytest.mark.parametrize(
    "value",
    [
        "Mon, 01 Jan 2024 00:00:00 +99999999999999999999",
        "Mon, 01 Jan 0001 00:00:00 +2359",
        "Fri, 31 Dec 9999 23:59:59 -2359",
        "Mon, 99 Jan 2024 99:99:99 GMT",
        "9" * 5000,
    ],
)
async def test_invalid_date_in_a_header_makes_a_failed_attempt(
    receiver: Receiver, value: str
) -> None:
    receiver.behave = respond_always(build_response(503, f"retry-after: {value}"))
    async with sending_to() as sender:
        attempt = await sender.send(receiver.url, [SECRET], EVENT)
    assert attempt.failure == "answered 503"


async def test_any_error_while_reading_a_response_makes_a_failed_attempt(
    receiver: Receiver, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(_: object) -> None:
        raise RuntimeError(receiver.url)

    monkeypatch.setattr(sending, "_convert_response_to_attempt", judge)
    async with sending_to() as sender:
        attempt = await sender.send(receiver.url, [SECRET], EVENT)
    assert attempt.failure == "failed unexpectedly: RuntimeError"
    assert "RuntimeError" in caplog.text and receiver.url not in caplog.text


@pytest.mark.parametrize(
    "text",
    [
        b"no HTTP at all\r\n\r\n",
        b"HTTP/1.1 200\r\nOK\x00\x1b[31m\r\n\r\n",
        f"HTTP/1.1 /{TOKEN}?key={QUERY} no\r\n\r\n".encode(),
        f"{TOKEN}\r\n\r\n".encode(),
        b"",
    ],
)
async def test_no_failure_contains_the_path_or_the_query_of_the_url(
    receiver: Receiver, text: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    receiver.behave = respond_always(text)
    if not text:
        receiver.behave = _close_connection
    url = f"http://127.0.0.1:{receiver.port}/{TOKEN}?key={QUERY}"
    async with sending_to() as sender:
        attempt = await sender.send(url, [SECRET], EVENT)
    assert attempt.failure and attempt.failure.isprintable()
    for secret in (TOKEN, QUERY, url):
        assert secret not in attempt.failure and secret not in caplog.text


async def test_unreachable_url_is_not_logged(receiver: Receiver) -> None:
    """Use hosts that fail in different places: the URL parser, the HTTP client, name resolution."""
    async with sending_to() as sender:
        for host in ("a" * 64 + ".example", "nobody.invalid", "[::1", "127.0.0.1:99999", ""):
            url = f"http://{host}/{TOKEN}?key={QUERY}"
            attempt = await sender.send(url, [SECRET], EVENT)
            assert attempt.failure, host
            assert TOKEN not in attempt.failure and QUERY not in attempt.failure, host


@pytest.mark.parametrize(
    ("destinations", "failure"),
    [
        (DestinationPolicy(allow_private=True), "the URL must begin with https://"),
        (DestinationPolicy(allow_http=True), "127.0.0.1 is not an address of the public internet"),
        (
            DestinationPolicy(
                allow_private=True, allow_http=True, denied=(ip_network("127.0.0.0/8"),)
            ),
            "127.0.0.1 is in a network that SALDO_WEBHOOK_DENY names",
        ),
        (
            DestinationPolicy(allow_private=True, allow_http=True, ports=frozenset({443, 8443})),
            "the URL must have one of the ports 443, 8443",
        ),
    ],
)
async def test_forbidden_destination_receives_nothing(
    receiver: Receiver, destinations: DestinationPolicy, failure: str
) -> None:
    """Check that the current settings count, and not those at the webhook's creation."""
    async with sending_to(destinations) as sender:
        attempt = await sender.send(receiver.url, [SECRET], EVENT)
    assert attempt.failure and attempt.failure.startswith(failure)
    assert receiver.received == []


async def _close_connection(_: object) -> bytes:
    raise OSError
