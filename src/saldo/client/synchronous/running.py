"""What runs beside, and waits: threads. `saldo.client.asynchronous.running` has the same with tasks of asyncio."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from threading import Condition
from time import sleep
from typing import TypeVar

T = TypeVar("T")

__all__ = ["Condition", "Future", "Worker", "new_future", "settle", "sleep", "within"]


class Worker:
    """Something that runs beside, until it ends by itself."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        # Of a program that ends without closing it, it must not be what keeps it from ending.
        self._thread = threading.Thread(target=run, name=name, daemon=True)
        self._thread.start()

    def join(self) -> None:
        """Waits for its end."""
        self._thread.join()


def new_future() -> Future[T]:
    """A promise of an outcome. It can't be cancelled: what was accepted is sent."""
    future: Future[T] = Future()
    future.set_running_or_notify_cancel()
    return future


def settle(future: Future[T], outcome: T | BaseException) -> None:
    """Gives the outcome to who waits for it."""
    if isinstance(outcome, BaseException):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)


@contextmanager
def within(seconds: float) -> Iterator[None]:
    """Nothing interrupts a thread: it looks at the clock itself, whenever something has come."""
    yield
