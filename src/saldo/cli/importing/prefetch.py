"""An iterator that prepares its next item in a thread."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")


def prefetch(items: Iterator[T]) -> Iterator[T]:
    """Yield the items of an iterator, while a thread prepares the next one. An item must not be None."""
    with ThreadPoolExecutor(1, thread_name_prefix="prefetch") as thread:
        coming = thread.submit(next, items, None)
        while (thing := coming.result()) is not None:
            coming = thread.submit(next, items, None)
            yield thing
