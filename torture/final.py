"""The end: all is calm, everybody has been told, and everything is read once more."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable, Sequence
from typing import Any

from torture.connection import Answer, NoAnswerError, connection
from torture.history import Account
from torture.world.consumers import NAMES, STREAM, Consumers
from torture.world.services import BATCH_TIMEOUT_SECONDS, Service

READ_SECONDS_MAX = 30
PAGE_ITEMS = 1000


async def read(service: Service, user_ids: Sequence[int]) -> list[Account]:
    """The final read, past the proxy: when nothing that was sent can take effect any more."""
    await asyncio.sleep(BATCH_TIMEOUT_SECONDS + 1)
    before: list[Account] = []
    while (found := [await _account(service, user_id) for user_id in user_ids]) != before:
        before = found
        await asyncio.sleep(1)
    return found


def uuids(accounts: Iterable[Account]) -> set[str]:
    """All that is recorded."""
    return {item["uuid"] for account in accounts for item in account.transactions}


async def _account(service: Service, user_id: int) -> Account:
    balance = await _get(service, f"/v1/user/{user_id}/balance")
    items: list[dict[str, Any]] = []
    cursor = ""
    while True:
        path = f"/v1/user/{user_id}/transactions?limit={PAGE_ITEMS}{cursor}"
        page = await _get(service, path)
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
    live = [name for name in NAMES if name != STREAM]
    while left := [name for name in live if recorded - consumers.seen[name]]:
        if time.monotonic() > deadline:
            break
        await asyncio.sleep(0.1)
    return left


async def _get(service: Service, path: str) -> Any:
    """What is there; asked until it is answered."""
    deadline = time.monotonic() + READ_SECONDS_MAX
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
            raise RuntimeError(f"the final read: {path}: {answer}")
        await asyncio.sleep(0.1)
