"""The end: all is calm, everybody has been told, and everything is read once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torture.connection import Answer, NoAnswerError, connection
from torture.history import Account
from torture.world.consumers import STREAM, Consumers
from torture.world.services import Service

READ_SECONDS_MAX = 30
PAGE_ITEMS = 1000


class UnreadError(Exception):
    """What is there could not be read. The message says what was asked and answered."""


class Read(NamedTuple):
    """What there is in the end.

    Attributes:
        unread: of users who could not be read: why.
    """

    accounts: list[Account]
    unread: dict[int, str]


async def read(
    service: Service,
    user_ids: Sequence[int],
    settled_at: float,
    seconds_max: float = READ_SECONDS_MAX,
) -> Read:
    """The final read, past the proxy.

    Args:
        settled_at: when nothing that was sent can take effect any more, by the monotonic clock.
        seconds_max: how long each page is asked for.
    """
    await asyncio.sleep(max(0.0, settled_at - time.monotonic()))
    before = Read([], {})
    while (found := await _read_all(service, user_ids, seconds_max)) != before:
        before = found
        await asyncio.sleep(1)
    return found


async def _read_all(service: Service, user_ids: Sequence[int], seconds_max: float) -> Read:
    found = Read([], {})
    for user_id in user_ids:
        try:
            found.accounts.append(await _account(service, user_id, seconds_max))
        except UnreadError as error:
            found.unread[user_id] = str(error)
    return found


def uuids(accounts: Iterable[Account]) -> set[str]:
    """All that is recorded."""
    return {item["uuid"] for account in accounts for item in account.transactions}


async def _account(service: Service, user_id: int, seconds_max: float) -> Account:
    balance = await _get(service, f"/v1/user/{user_id}/balance", seconds_max)
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/v1/user/{user_id}/transactions?limit={PAGE_ITEMS}{cursor}"
        page = await _get(service, path, seconds_max)
        items += page["items"]
        if page["next_cursor"] is None:
            return Account(user_id, balance["balance"], tuple(reversed(items)))
        cursor = f"&cursor={page['next_cursor']}"


async def everybody_told(consumers: Consumers, recorded: set[str], seconds_max: float) -> list[str]:
    """Waits until all consumers have got every recorded transaction.

    Returns:
        The consumers that have not, when the time is over.
    """
    deadline = time.monotonic() + seconds_max
    live = [name for name in consumers.names if name != STREAM]
    while left := [name for name in live if recorded - consumers.seen[name]]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return left


async def _get(service: Service, path: str, seconds_max: float) -> Any:
    """What is there; asked until it is answered.

    Raises:
        UnreadError: it was not, for so long.
    """
    deadline = time.monotonic() + seconds_max
    while True:
        answer: Answer | None = None
        try:
            async with connection(service.port, READ_SECONDS_MAX) as asked:
                answer = await asked.get(path)
                if answer.status == 200:
                    return answer.content
        except NoAnswerError:
            pass
        if time.monotonic() > deadline:
            raise UnreadError(f"{path}: {answer}")
        await asyncio.sleep(0.1)
