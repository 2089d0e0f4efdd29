"""Many questions of one kind, one statement: those that come while it runs wait for the next."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Hashable, Mapping
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Found = TypeVar("Found")


class GroupedReads(Generic[Key, Found]):
    """Groups reads as the engine groups writes.

    What is answered was read by a statement that began after the question was asked: a client sees what
    it was told before.
    """

    def __init__(
        self, read: Callable[[list[Key]], Awaitable[Mapping[Key, Found]]], *, keys_max: int
    ) -> None:
        """
        Args:
            read: what is found under the keys; raises for all of them or none.
            keys_max: keys of one statement.
        """
        self._read = read
        self._keys_max = keys_max
        self._waiting: dict[Key, asyncio.Future[Found | None]] = {}
        self._reading: asyncio.Task[None] | None = None

    async def get(self, key: Key) -> Found | None:
        """What is found under the key, or None.

        Raises:
            StoreError: what the statement failed with.
        """
        found = self._waiting.get(key)
        if found is None:
            found = self._waiting[key] = asyncio.get_running_loop().create_future()
            if self._reading is None:
                self._reading = asyncio.create_task(self._work(), name="grouped reads")
        # Shared with others who ask the same: one who goes away must not end their wait.
        return await asyncio.shield(found)

    async def _work(self) -> None:
        try:
            while self._waiting:
                keys = list(self._waiting)[: self._keys_max]
                futures = {key: self._waiting.pop(key) for key in keys}
                try:
                    found = await self._read(keys)
                except Exception as error:  # told to whoever asked
                    for future in futures.values():
                        future.set_exception(error)
                        future.exception()  # nobody may wait any more
                    continue
                for key, future in futures.items():
                    future.set_result(found.get(key))
        finally:
            self._reading = None
