"""Parts of webhooks that need no database: addresses, retries, the circuit breaker of an endpoint, parsing."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from ipaddress import ip_network
from typing import Any

import pytest

from saldo.lifecycle.tasks import cancel_until_ended
from saldo.relay.webhooks.address_policy import is_public, is_within
from saldo.relay.webhooks.backoff import compute_retry_delay, parse_retry_after
from saldo.relay.webhooks.circuit_breaker import (
    FAILING_USERS_MIN,
    CircuitBreaker,
    CircuitBreakerStoppedError,
)
from saldo.relay.webhooks.supervisor import WebhookSupervisor
from saldo.store.errors import ConnectionLostError

NOW = datetime(2026, 11, 25, 12, 0, 0, tzinfo=UTC)


@pytest.mark.parametrize(
    "address",
    [
        "8.8.8.8",
        "1.1.1.1",
        "2606:4700:4700::1111",
        "::ffff:8.8.8.8",
        "64:ff9b::808:808",
        "2002:808:808::1",
    ],
)
def test_public_addresses(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize(
    "address",
    [
        *("127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "172.16.0.1"),
        *(
            "172.31.255.255",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
        ),
        *("198.18.0.1", "198.51.100.1", "203.0.113.1", "224.0.0.1", "239.1.1.1", "240.0.0.1"),
        *("255.255.255.255", "::", "::1", "::127.0.0.1", "fe80::1", "fe80::1%eth0", "fec0::1"),
        *(
            "fc00::1",
            "fd12:3456::1",
            "ff02::1",
            "ff0e::1",
            "2001:db8::1",
            "3fff:fff::1",
            "2002:2f00::5efe:7f00:1",
            "100::1",
        ),
        *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::ffff:169.254.169.254", "::ffff:0:127.0.0.1"),
        *(
            "64:ff9b::7f00:1",
            "64:ff9b::a00:1",
            "64:ff9b:1::808:808",
            "2002:7f00:1::",
            "2002:a00:1::1",
        ),
        *("2001:0:4136:e378:8000:63bf:3fff:fdd2", "2606:4700::5efe:7f00:1", "fe80::5efe:808:808"),
        *("168.63.129.16", "192.0.0.192", "192.88.99.1", "192.31.196.1", "192.52.193.1"),
        *("192.175.48.1", "100.100.100.200", "::ffff:168.63.129.16", "64:ff9b::a83f:8110"),
        *("2002:a83f:8110::1", "2001:4:112::1", "2620:4f:8000::1", "fd00:ec2::254"),
        *("localhost", "127.1", "", "0x7f000001", "2130706433"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize(
    "address",
    ["192.0.2.7", "::ffff:192.0.2.7", "64:ff9b::c000:207", "2002:c000:207::1", "2001:db8::7"],
)
def test_a_denied_network_is_recognized_however_its_address_is_written(address: str) -> None:
    denied = (ip_network("192.0.2.0/24"), ip_network("2001:db8::/32"))
    assert is_within(address, denied)
    assert not is_within("198.51.100.7", denied) and not is_within("2001:db9::7", denied)


def test_backoff_doubles_up_to_its_maximum() -> None:
    latest = [
        compute_retry_delay(n, 1, 3600, None, 1.0).total_seconds()
        for n in (1, 2, 3, 12, 13, 10_000)
    ]
    assert latest == [1, 2, 4, 2048, 3600, 3600]
    assert compute_retry_delay(3, 1, 3600, None, 0.0) == timedelta(seconds=2)


def test_retry_after_extends_the_backoff_within_the_maximum() -> None:
    assert compute_retry_delay(1, 1, 3600, timedelta(seconds=50), 1.0) == timedelta(seconds=50)
    assert compute_retry_delay(1, 1, 3600, timedelta(days=50), 1.0) == timedelta(seconds=3600)
    assert compute_retry_delay(9, 1, 3600, timedelta(seconds=1), 1.0) == timedelta(seconds=256)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        (None, None),
        ("120", 120),
        (" 0 ", 0),
        ("9" * 90, 10**9),
        ("Wed, 25 Nov 2026 12:01:00 GMT", 60),
        ("Wed, 25 Nov 2026 11:00:00 GMT", 0),
        ("Wed, 25 Nov 2026 12:01:00 -0000", 60),
        ("soon", None),
        ("-5", None),
        ("Wed, 25 Nov 2026 12:01:00 +99999999999999999999", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0),
        ("١٢", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_retry_after(text, NOW) == expected


async def test_open_circuit_allows_one_probe_at_a_time() -> None:
    endpoint = CircuitBreaker(4)
    for user_id in range(FAILING_USERS_MIN):
        assert not endpoint.is_open
        endpoint.record_failure(user_id, 0.0, 0.0)
    assert endpoint.is_open
    async with endpoint.acquire_turn():
        second = asyncio.create_task(_take(endpoint))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not second.done()
        assert endpoint.record_success()
    await second
    assert not endpoint.is_open


async def test_success_closes_the_circuit_for_waiting_deliveries() -> None:
    endpoint = CircuitBreaker(4)
    async with endpoint.acquire_turn():  # begun before the endpoint seemed to be down
        for user_id in range(FAILING_USERS_MIN):
            endpoint.record_failure(user_id, 3600.0, 0.0)
        waiting = [asyncio.create_task(_take(endpoint)) for _ in range(3)]
        await asyncio.sleep(0)
        endpoint.record_success()
        await asyncio.gather(*waiting)


async def test_failures_of_one_user_do_not_open_the_circuit() -> None:
    endpoint = CircuitBreaker(4)
    for _ in range(FAILING_USERS_MIN * 3):
        endpoint.record_failure(1, 10.0, 0.0)
    assert not endpoint.is_open
    await _take(endpoint)


async def test_endpoint_with_retry_after_gets_nothing_until_it_expires() -> None:
    endpoint = CircuitBreaker(4)
    endpoint.record_failure(1, 1.0, 3600.0)
    waiting = asyncio.create_task(_take(endpoint))
    await asyncio.sleep(0)
    assert not waiting.done()
    endpoint.stop()
    with pytest.raises(CircuitBreakerStoppedError):
        await waiting


async def _take(endpoint: CircuitBreaker) -> None:
    async with endpoint.acquire_turn():
        pass


async def test_following_ends_although_the_driver_turns_a_cancellation_into_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Turn a cancellation into an error, as the driver does while a connection breaks."""
    monkeypatch.setattr("saldo.lifecycle.tasks.CANCEL_AGAIN_SECONDS", 0.001)

    class Breaking:
        def __init__(self) -> None:
            self.asked = asyncio.Event()

        async def list_active(self) -> list[Any]:
            self.asked.set()
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                raise ConnectionLostError("broken") from None
            return []

    webhooks: Any = Breaking()
    nothing: Any = None
    relays = WebhookSupervisor(webhooks, nothing, nothing, nothing, poll_seconds=60)
    following = asyncio.create_task(relays.run())
    await webhooks.asked.wait()
    async with asyncio.timeout(60):
        await cancel_until_ended([following])
