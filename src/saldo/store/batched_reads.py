"""Batched reads: concurrent reads of the same kind share one statement. Reads that arrive while a statement runs share
the next one."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class BatchedReads(Generic[Key, Value]):
    """Reads the keys of concurrent `get` calls in one statement.

    The statement always begins after the call, so that a client sees its own earlier writes.
    """

    def __init__(
        self, read: Callable[[list[Key]], Awaitable[Mapping[Key, Value]]], *, keys_max: int
    ) -> None:
        """
        Args:
            read: Returns the values by key. Keys without a value are absent. An exception applies to all keys.
            keys_max: The maximum number of keys in one statement.
        """
        self._read = read
        self._keys_max = keys_max
        self._pending_futures: dict[Key, asyncio.Future[Value | None]] = {}
        self._read_task: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Value | None:
        """Return the value of a key, or None.

        Raises:
            StoreError: The statement failed.
        """
        future = self._pending_futures.get(key)
        if future is None:
            future = self._pending_futures[key] = asyncio.get_running_loop().create_future()
            if self._read_task is None:
                self._read_task = asyncio.create_task(self._run(), name="batched reads")
        # The future is shared by all callers with the same key, so a caller that is cancelled must not cancel the
        # future.
        return await asyncio.shield(future)

    async def _run(self) -> None:
        try:
            while self._pending_futures:
                keys = list(self._pending_futures)[: self._keys_max]
                futures = {key: self._pending_futures.pop(key) for key in keys}
                try:
                    values = await self._read(keys)
                except Exception as error:  # the error is set on the callers' futures
                    for future in futures.values():
                        future.set_exception(error)
                        future.exception()  # all callers may have been cancelled
                    continue
                for key, future in futures.items():
                    future.set_result(values.get(key))
        finally:
            self._read_task = None
