"""What runs beside, and waits: tasks of asyncio. `saldo.client.synchronous.running` has the same with threads."""

from __future__ import annotations

import asyncio
from asyncio import Condition, sleep
from asyncio import timeout as within
from collections.abc import Callable, Coroutine
from typing import TypeAlias, TypeVar

T = TypeVar("T")

__all__ = ["Condition", "Future", "Worker", "new_future", "settle", "sleep", "within"]

Future: TypeAlias = asyncio.Future[T]


class Worker:
    """Something that runs beside, until it ends by itself."""

    def __init__(self, run: Callable[[], Coroutine[None, None, None]], name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(run(), name=name)

    async def join(self) -> None:
        """Waits for its end."""
        # If who waits is cancelled, what was begun is still seen through.
        await asyncio.shield(self._task)


def new_future() -> Future[T]:
    """A promise of an outcome."""
    return asyncio.get_running_loop().create_future()


def settle(future: Future[T], outcome: T | BaseException) -> None:
    """Gives the outcome to who waits for it, if anybody still does."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # who doesn't ask for it is not told of it
    else:
        future.set_result(outcome)
