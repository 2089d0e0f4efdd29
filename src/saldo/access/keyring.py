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
        self._looking_again = asyncio.Lock()
        self._following: asyncio.Task[None] | None = None
        self.any_key: bool | None = True if given else None

    async def start(self) -> None:
        """Looks once, and from then on again and again."""
        await self._look_if_it_can()
        self._following = asyncio.create_task(self._follow(), name="keys")

    async def stop(self) -> None:
        """Looks no more."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.wait({self._following})

    async def grant_of(self, secret: bytes) -> Grant | None:
        """What the key stands for; None: it is not valid.

        Raises:
            StoreError: it is not known, and the database can't be asked.
        """
        digest = digest_of(secret)
        found = self._grants.get(digest)
        if found is None:
            await self._look_again()
            found = self._grants.get(digest)
        return found

    async def look(self) -> None:
        """Asks the database what has changed.

        Raises:
            StoreError: it can't be asked.
        """
        async with self._looking:
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

    async def _look_again(self) -> None:
        """Sees all changes up to now: one look for all who ask at the same time."""
        asked_at = time.monotonic()
        async with self._looking_again:
            if self._looked_at > asked_at:
                return
            await asyncio.sleep(self._looked_at + LOOK_AGAIN_SECONDS - time.monotonic())
            await self.look()

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            await self._look_if_it_can()

    async def _look_if_it_can(self) -> None:
        try:
            await self.look()
        except StoreError as error:
            _log.warning("keys can't be looked at, those known stay valid: %s", error)
        except Exception:
            _log.exception("looking at keys failed in a way nobody foresaw")
