"""The end of a run: wait until every consumer has all events, and read everything once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from torture.connection import Answer, RequestFailedError, open_connection
from torture.history import Account
from torture.world.consumers import STREAM, Consumers
from torture.world.services import Service

READ_SECONDS_MAX = 30
PAGE_ITEMS = 1000


class FinalReadError(Exception):
    """A final read failed. The message contains the request and the answer."""


class FinalReadResult(NamedTuple):
    """The result of the final read.

    Attributes:
        unread: the users who could not be read, with the reason for each.
    """

    accounts: list[Account]
    unread: dict[int, str]


async def read(
    service: Service,
    user_ids: Sequence[int],
    settled_at: float,
    seconds_max: float = READ_SECONDS_MAX,
) -> FinalReadResult:
    """Read all users directly from the service, not through the proxy, until two reads agree.

    Args:
        settled_at: the time, by the monotonic clock, after which no request that was sent can take effect any more.
        seconds_max: the time for which a page is retried, in seconds.
    """
    await asyncio.sleep(max(0.0, settled_at - time.monotonic()))
    before = FinalReadResult([], {})
    while (found := await _read_all(service, user_ids, seconds_max)) != before:
        before = found
        await asyncio.sleep(1)
    return found


async def _read_all(
    service: Service, user_ids: Sequence[int], seconds_max: float
) -> FinalReadResult:
    found = FinalReadResult([], {})
    for user_id in user_ids:
        try:
            found.accounts.append(await _account(service, user_id, seconds_max))
        except FinalReadError as error:
            found.unread[user_id] = str(error)
    return found


def uuids(accounts: Iterable[Account]) -> set[str]:
    """Return the uuids of all recorded transactions."""
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


async def wait_until_all_delivered(
    consumers: Consumers, recorded: set[str], seconds_max: float
) -> list[str]:
    """Wait until all consumers have received every recorded transaction.

    Returns:
        The consumers that have not received all of them when the time is over.
    """
    deadline = time.monotonic() + seconds_max
    live = [name for name in consumers.names if name != STREAM]
    while left := [name for name in live if recorded - consumers.seen[name]]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return left


async def _get(service: Service, path: str, seconds_max: float) -> Any:
    """Return the body of a GET, retrying until it is answered with 200.

    Raises:
        FinalReadError: there was no such answer within `seconds_max`.
    """
    deadline = time.monotonic() + seconds_max
    while True:
        answer: Answer | None = None
        try:
            async with open_connection(service.port, READ_SECONDS_MAX) as asked:
                answer = await asked.get(path)
                if answer.status == 200:
                    return answer.content
        except RequestFailedError:
            pass
        if time.monotonic() > deadline:
            raise FinalReadError(f"{path}: {answer}")
        await asyncio.sleep(0.1)
