"""Concurrency for the writer and for timeouts: threads.

`saldo.client.asynchronous.concurrency` provides the same with tasks of asyncio.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition
from time import sleep
from typing import TypeVar

T = TypeVar("T")

__all__ = ["Condition", "Future", "Worker", "new_future", "set_outcome", "sleep", "within"]


class Worker:
    """A thread that runs in the background until it ends by itself."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        # A daemon thread does not keep a program alive that ends without closing the writer.
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Wait until the thread has ended."""
        self._thread.join()


def new_future() -> Future[T]:
    """Return a new future for an outcome. It can't be cancelled, because every accepted transaction is sent."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    return future


def set_outcome(future: Future[T], outcome: T | BaseException) -> None:
    """Set the outcome of a future."""
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Do nothing, because a thread can't be interrupted. The reader checks its deadline when data arrives."""
    yield
