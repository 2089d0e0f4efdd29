"""What of webhooks needs no database: addresses, retries, turns at an endpoint, reading."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from saldo.relay.webhooks.addresses import is_public
from saldo.relay.webhooks.endpoint import AILING_USERS_MIN, ClosedError, Endpoint
from saldo.relay.webhooks.retry import delay_after, parse_retry_after

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
        *("localhost", "127.1", "", "0x7f000001", "2130706433"),
    ],
)
def test_addresses_that_are_not_public(address: str) -> None:
    assert not is_public(address)


def test_retries_come_twice_as_late_each_time_up_to_a_bound() -> None:
    latest = [delay_after(n, 1, 3600, None, 1.0).total_seconds() for n in (1, 2, 3, 12, 13, 10_000)]
    assert latest == [1, 2, 4, 2048, 3600, 3600]
    assert delay_after(3, 1, 3600, None, 0.0) == timedelta(seconds=2)


def test_an_endpoint_may_ask_for_more_time_within_the_bound() -> None:
    assert delay_after(1, 1, 3600, timedelta(seconds=50), 1.0) == timedelta(seconds=50)
    assert delay_after(1, 1, 3600, timedelta(days=50), 1.0) == timedelta(seconds=3600)
    assert delay_after(9, 1, 3600, timedelta(seconds=1), 1.0) == timedelta(seconds=256)


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
        ("١٢", None),
    ],
)
def test_retry_after_is_seconds_or_a_date(text: str | None, seconds: int | None) -> None:
    expected = None if seconds is None else timedelta(seconds=seconds)
    assert parse_retry_after(text, NOW) == expected


async def test_an_endpoint_that_seems_down_is_tried_by_one_at_a_time() -> None:
    endpoint = Endpoint(4)
    for user_id in range(AILING_USERS_MIN):
        assert not endpoint.ailing
        endpoint.failed(user_id, 0.0, 0.0)
    assert endpoint.ailing
    async with endpoint.turn():
        second = asyncio.create_task(_take(endpoint))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not second.done()
        assert endpoint.succeeded()
    await second
    assert not endpoint.ailing


async def test_a_success_ends_the_rest_of_who_waits_for_a_turn() -> None:
    endpoint = Endpoint(4)
    async with endpoint.turn():  # begun before it seemed to be down
        for user_id in range(AILING_USERS_MIN):
            endpoint.failed(user_id, 3600.0, 0.0)
        waiting = [asyncio.create_task(_take(endpoint)) for _ in range(3)]
        await asyncio.sleep(0)
        endpoint.succeeded()
        await asyncio.gather(*waiting)


async def test_one_user_alone_does_not_make_an_endpoint_seem_down() -> None:
    endpoint = Endpoint(4)
    for _ in range(AILING_USERS_MIN * 3):
        endpoint.failed(1, 10.0, 0.0)
    assert not endpoint.ailing
    await _take(endpoint)


async def test_an_endpoint_that_asks_for_it_is_left_alone_until_it_is_closed() -> None:
    endpoint = Endpoint(4)
    endpoint.failed(1, 1.0, 3600.0)
    waiting = asyncio.create_task(_take(endpoint))
    await asyncio.sleep(0)
    assert not waiting.done()
    endpoint.close()
    with pytest.raises(ClosedError):
        await waiting


async def _take(endpoint: Endpoint) -> None:
    async with endpoint.turn():
        pass
