"""Concurrency for the writer and for timeouts: tasks of asyncio.

`saldo.client.synchronous.concurrency` provides the same with threads.
"""

from __future__ import annotations

import asyncio
from asyncio import Condition, sleep
from asyncio import timeout as within
from collections.abc import Callable, Coroutine
from typing import TypeAlias, TypeVar

T = TypeVar("T")

__all__ = ["Condition", "Future", "Worker", "new_future", "set_outcome", "sleep", "within"]

Future: TypeAlias = asyncio.Future[T]


class Worker:
    """A task that runs in the background until it ends by itself."""

    def __init__(self, run: Callable[[], Coroutine[None, None, None]], name: str) -> None:
        self._task = asyncio.get_running_loop().create_task(run(), name=name)

    async def join(self) -> None:
        """Wait until the task has ended."""
        # The shield lets the task finish its work even if the caller is cancelled.
        await asyncio.shield(self._task)


def new_future() -> Future[T]:
    """Return a new future for an outcome."""
    return asyncio.get_running_loop().create_future()


def set_outcome(future: Future[T], outcome: T | BaseException) -> None:
    """Set the outcome of a future, unless it is done, for example because its caller cancelled it."""
    if future.done():
        return
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
        future.exception()  # marks it as retrieved, so that asyncio logs no warning if the caller ignores it
    else:
        future.set_result(outcome)
