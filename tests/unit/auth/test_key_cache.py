"""The keyring's queries: one for all concurrent requests, and none that is not needed."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from saldo.auth import key_cache as module
from saldo.auth.api_key import hash_secret
from saldo.auth.key_cache import KeyCache
from saldo.store.errors import ConnectionLostError
from saldo.store.keys import ValidKey, ValidKeys

SECRET = b"a-key-that-was-made-meanwhile"
NEW = ValidKey(1, "new", hash_secret(SECRET), ["read"], None, None, None)


class Table:
    """A table of keys that answers when the test allows it."""

    def __init__(self) -> None:
        self.keys: list[ValidKey] = []
        self.away = False
        self.looks = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def read_version(self) -> int:
        return -1  # there is always a change

    async def read_valid_keys(self) -> ValidKeys:
        self.looks += 1
        seen = list(self.keys)
        self.asked.set()
        await self.answers.wait()
        if self.away:
            raise ConnectionLostError("away")
        return ValidKeys(self.looks, True, seen)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(module, "LOAD_INTERVAL_SECONDS_MIN", 0.0)
    return Table()


def over(table: Any) -> KeyCache:
    return KeyCache(table, {}, refresh_seconds=60, rate_limit=None, notify_changed=lambda: None)


async def test_concurrent_requests_share_one_key_query(table: Table) -> None:
    keyring = over(table)
    table.keys = [NEW]
    table.answers.set()
    found = await asyncio.gather(*(keyring.find_grant(SECRET) for _ in range(100)))
    assert {grant and grant.name for grant in found} == {"key 1"}
    assert table.looks == 1


async def test_request_during_a_key_query_gets_the_next_one(table: Table) -> None:
    keyring = over(table)
    first = asyncio.create_task(keyring.find_grant(SECRET))
    await table.asked.wait()
    table.keys = [NEW]  # created after the query has read all keys
    later = [asyncio.create_task(keyring.find_grant(SECRET)) for _ in range(100)]
    await asyncio.sleep(0)
    table.answers.set()
    await first
    assert None not in await asyncio.gather(*later)
    assert table.looks == 2


async def test_unavailable_database_does_not_make_keys_invalid(
    table: Table,
) -> None:
    keyring = over(table)
    table.away = True
    table.answers.set()
    found = await asyncio.gather(
        *(keyring.find_grant(SECRET) for _ in range(100)), return_exceptions=True
    )
    assert {type(each) for each in found} == {ConnectionLostError}
    table.away, table.keys = False, [NEW]
    assert await keyring.find_grant(SECRET) is not None


async def test_a_stop_ends_although_the_driver_turns_a_cancellation_into_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Turn a cancellation into an error, as the driver does while a connection breaks."""
    monkeypatch.setattr("saldo.lifecycle.tasks.CANCEL_AGAIN_SECONDS", 0.001)
    asked = asyncio.Event()

    class Breaking(Table):
        async def read_version(self) -> int:
            if not asked.is_set():
                asked.set()
                try:
                    await asyncio.Event().wait()
                except asyncio.CancelledError:
                    raise ConnectionLostError("broken") from None
            return await super().read_version()

    table: Any = Breaking()
    table.answers.set()
    keyring = KeyCache(
        table, {}, refresh_seconds=0.001, rate_limit=None, notify_changed=lambda: None
    )
    await keyring.start()
    await asked.wait()
    async with asyncio.timeout(60):
        await keyring.stop()
