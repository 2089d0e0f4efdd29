"""The keys that are valid, kept in memory, so that no request waits for the database to be let in."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from saldo.access.grant import Grant, Scope
from saldo.access.rate import Bucket, Rate
from saldo.access.secret import digest_of
from saldo.store.errors import StoreError
from saldo.store.keys import Keys, ValidKey

LOOK_AGAIN_SECONDS: Final = 0.25
"""A key that isn't known may be new: the database is asked, but not more often than this. Who makes keys up waits."""

_log = logging.getLogger("saldo.access")


class Keyring:
    """The valid keys of the database, as of a moment ago, and those of the operator's own.

    Attributes:
        any_key: whether there has ever been one; None: the database could not be asked yet.
    """

    def __init__(
        self,
        keys: Keys,
        given: Mapping[str, Scope],
        *,
        refresh_seconds: float,
        rate: Rate | None,
        changed: Callable[[], None],
    ) -> None:
        """
        Args:
            given: keys of the settings, and what each opens.
            refresh_seconds: how often to look: for so long a revoked key may still be let in.
            rate: how often each key may ask; None: as often as it likes.
            changed: called when what is valid has changed.
        """
        self._keys = keys
        self._rate = rate
        self._refresh_seconds = refresh_seconds
        self._changed = changed
        self._given = {
            digest_of(secret.encode()): Grant(f"SALDO_{scope.upper()}_KEY", frozenset({scope}))
            for secret, scope in given.items()
        }
        self._grants: dict[bytes, Grant] = dict(self._given)
        self._buckets: dict[int, Bucket] = {}
        self._version: int | None = None
        self._looked_at = -LOOK_AGAIN_SECONDS
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self.any_key: bool | None = True if given else None

    async def start(self) -> None:
        """Looks once, and from then on again and again."""
        await self.refresh()
        self._following = asyncio.create_task(self._follow(), name="keys")

    async def stop(self) -> None:
        """Looks no more."""
        tasks = {task for task in (self._following, self._next_look) if task is not None}
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def grant_of(self, secret: bytes) -> Grant | None:
        """What the key stands for; None: it is not valid.

        Raises:
            StoreError: it is not known, and the database can't be asked.
        """
        digest = digest_of(secret)
        found = self._grants.get(digest)
        if found is None:
            await self.look()
            found = self._grants.get(digest)
        return found

    def grant_named(self, name: str, fits: Callable[[bytes], bool]) -> Grant | None:
        """What the key of this name stands for, if its digest fits; None: it is not valid any more."""
        for digest, grant in self._grants.items():
            if grant.name == name and fits(digest):
                return grant
        return None

    async def look(self) -> None:
        """Sees all changes up to now: one look for all who ask at the same time, and not too soon after the last.

        Raises:
            StoreError: the database can't be asked.
        """
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_soon(), name="a look at keys")
            self._next_look.add_done_callback(_seen)
        await asyncio.shield(self._next_look)

    async def refresh(self) -> None:
        """Sees what has changed, now; if the database can't be asked, later."""
        try:
            async with self._looking:
                await self._look()
        except StoreError as error:
            _log.warning("keys can't be looked at, those known stay valid: %s", error)
        except Exception:
            _log.exception("looking at keys failed in a way nobody foresaw")

    async def _look_soon(self) -> None:
        try:
            async with self._looking:
                await asyncio.sleep(self._looked_at + LOOK_AGAIN_SECONDS - time.monotonic())
                # Who comes from now on may ask for what this one doesn't see.
                self._next_look = None
                await self._look()
        finally:
            if self._next_look is asyncio.current_task():
                self._next_look = None

    async def _look(self) -> None:
        self._looked_at = time.monotonic()
        if self._version is not None and await self._keys.version() == self._version:
            return
        found = await self._keys.valid()
        self._version, self.any_key = found.version, found.any_key or bool(self._given)
        self._take(found.keys)
        self._changed()

    def _take(self, keys: Iterable[ValidKey]) -> None:
        keys = list(keys)
        if self._rate is not None:
            # What a key has taken stays taken when another one changes.
            self._buckets = {
                key.id: self._buckets.get(key.id) or Bucket(self._rate) for key in keys
            }
        self._grants = self._given | {key.hash: self._grant(key) for key in keys}

    def _grant(self, key: ValidKey) -> Grant:
        return Grant(
            f"key {key.id}",
            frozenset(map(Scope, key.scopes)),
            None if key.user_ids is None else frozenset(key.user_ids),
            tuple(key.networks or ()),
            float("inf") if key.expires_at is None else key.expires_at,
            self._buckets.get(key.id),
        )

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            await self.refresh()


def _seen(task: asyncio.Task[None]) -> None:
    """Its failure is told to who waits for it; perhaps nobody does any more."""
    if not task.cancelled():
        task.exception()
