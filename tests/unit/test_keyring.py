"""When the keyring asks the database: once for all who ask at the same time, and never in vain."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from saldo.access import keyring as module
from saldo.access.keyring import Keyring
from saldo.access.secret import digest_of
from saldo.store.errors import ConnectionLostError
from saldo.store.keys import ValidKey, ValidKeys

SECRET = b"a-key-that-was-made-meanwhile"
NEW = ValidKey(1, "new", digest_of(SECRET), ["read"], None, None, None)


class Table:
    """What the database would answer, when the test lets it."""

    def __init__(self) -> None:
        self.keys: list[ValidKey] = []
        self.away = False
        self.looks = 0
        self.asked = asyncio.Event()
        self.answers = asyncio.Event()

    async def version(self) -> int:
        return -1  # something has always changed

    async def valid(self) -> ValidKeys:
        self.looks += 1
        seen = list(self.keys)
        self.asked.set()
        await self.answers.wait()
        if self.away:
            raise ConnectionLostError("away")
        return ValidKeys(self.looks, True, seen)


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    monkeypatch.setattr(module, "LOOK_AGAIN_SECONDS", 0.0)
    return Table()


def over(table: Any) -> Keyring:
    return Keyring(table, {}, refresh_seconds=60, rate=None, changed=lambda: None)


async def test_many_who_ask_at_the_same_time_are_one_look(table: Table) -> None:
    keyring = over(table)
    table.keys = [NEW]
    table.answers.set()
    found = await asyncio.gather(*(keyring.grant_of(SECRET) for _ in range(100)))
    assert {grant and grant.name for grant in found} == {"key 1"}
    assert table.looks == 1


async def test_who_asks_while_a_look_is_under_way_gets_the_next_one(table: Table) -> None:
    keyring = over(table)
    first = asyncio.create_task(keyring.grant_of(SECRET))
    await table.asked.wait()
    table.keys = [NEW]  # made when the look had already seen all
    later = [asyncio.create_task(keyring.grant_of(SECRET)) for _ in range(100)]
    await asyncio.sleep(0)
    table.answers.set()
    await first
    assert None not in await asyncio.gather(*later)
    assert table.looks == 2


async def test_while_the_database_is_away_nobody_is_told_that_there_is_no_such_key(
    table: Table,
) -> None:
    keyring = over(table)
    table.away = True
    table.answers.set()
    found = await asyncio.gather(
        *(keyring.grant_of(SECRET) for _ in range(100)), return_exceptions=True
    )
    assert {type(each) for each in found} == {ConnectionLostError}
    table.away, table.keys = False, [NEW]
    assert await keyring.grant_of(SECRET) is not None
