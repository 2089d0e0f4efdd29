"""A cache of the valid API keys in memory, so that authentication does not wait for the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from saldo.auth.api_key import hash_secret
from saldo.auth.grants import Grant, Scope
from saldo.auth.rate_limit import Rate, TokenBucket
from saldo.lifecycle.tasks import cancel_until_ended
from saldo.store.errors import StoreError
from saldo.store.keys import Keys, ValidKey

LOAD_INTERVAL_SECONDS_MIN: Final = 0.25
"""Minimum interval between two database queries for unknown keys. An unknown key may be new, so its request waits for
the next query."""

_log = logging.getLogger("saldo.auth")


class KeyCache:
    """A cache of the valid keys: the keys in the settings, and the keys in the database, which is polled.

    Attributes:
        any_key: True if any key has ever existed, False if not, and None if the database has not been queried yet.
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
            given: the keys in the settings, and the scope of each.
            refresh_seconds: polling interval. A revoked key may be accepted for this long after its revocation.
            rate: the rate limit of each key; None means no limit.
            changed: called after the valid keys have changed.
        """
        self._keys = keys
        self._rate = rate
        self._refresh_seconds = refresh_seconds
        self._changed = changed
        self._given = {
            hash_secret(secret.encode()): Grant(f"SALDO_{scope.upper()}_KEY", frozenset({scope}))
            for secret, scope in given.items()
        }
        self._grants: dict[bytes, Grant] = dict(self._given)
        self._buckets: dict[int, TokenBucket] = {}
        self._version: int | None = None
        self._looked_at = -LOAD_INTERVAL_SECONDS_MIN
        self._looking = asyncio.Lock()
        self._next_look: asyncio.Task[None] | None = None
        self._following: asyncio.Task[None] | None = None
        self.any_key: bool | None = True if given else None

    async def start(self) -> None:
        """Load the keys, and start to poll for changes."""
        await self.refresh()
        self._following = asyncio.create_task(self._poll(), name="key poll")

    async def stop(self) -> None:
        """Stop polling."""
        await cancel_until_ended(
            task for task in (self._following, self._next_look) if task is not None
        )

    async def find_grant(self, secret: bytes) -> Grant | None:
        """Return the grant of a key; None if the key is not valid.

        Raises:
            StoreError: the key is not known, and the database can't be queried.
        """
        digest = hash_secret(secret)
        found = self._grants.get(digest)
        if found is None:
            await self.refresh_shared()
            found = self._grants.get(digest)
        return found

    def loaded_grant(self, secret: bytes) -> Grant | None:
        """Return the grant of a key; None if the key is not valid, or was created after the last poll."""
        return self._grants.get(hash_secret(secret))

    def find_grant_by_name(self, name: str, fits: Callable[[bytes], bool]) -> Grant | None:
        """Return the grant of the valid key with this name; None if there is none, or if `fits` rejects its digest."""
        for digest, grant in self._grants.items():
            if grant.name == name and fits(digest):
                return grant
        return None

    def find_digest(self, name: str) -> bytes | None:
        """Return the digest of the valid key with this name; None if there is none. Clients don't know the digest."""
        return next((digest for digest, grant in self._grants.items() if grant.name == name), None)

    async def refresh_shared(self) -> None:
        """Load the changes that were made before the call. Concurrent callers share one query, which waits until
        `LOAD_INTERVAL_SECONDS_MIN` has passed since the last one.

        Raises:
            StoreError: the database can't be queried.
        """
        if self._next_look is None:
            self._next_look = asyncio.create_task(self._look_soon(), name="key refresh")
            self._next_look.add_done_callback(_consume_exception)
        await asyncio.shield(self._next_look)

    async def refresh(self) -> None:
        """Load the changes now. If the database can't be queried, log a warning and keep the known keys."""
        try:
            async with self._looking:
                await self._look()
        except StoreError as error:
            _log.warning("can't read the API keys, so the known keys remain valid: %s", error)
        except Exception:
            _log.exception("reading the API keys failed unexpectedly")

    async def _look_soon(self) -> None:
        try:
            async with self._looking:
                await asyncio.sleep(self._looked_at + LOAD_INTERVAL_SECONDS_MIN - time.monotonic())
                # The query below may miss a key that is created from now on, so later callers need another query.
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
        self._version = found.version
        # A table that is empty again after a failover or a manual change must not open the service to everybody.
        self.any_key = bool(self.any_key) or found.any_key
        self._take(found.keys)
        self._changed()

    def _take(self, keys: Iterable[ValidKey]) -> None:
        keys = list(keys)
        if self._rate is not None:
            # The level of each key's bucket is kept when another key changes.
            self._buckets = {
                key.id: self._buckets.get(key.id) or TokenBucket(self._rate) for key in keys
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

    async def _poll(self) -> None:
        while True:
            await asyncio.sleep(self._refresh_seconds)
            await self.refresh()


def _consume_exception(task: asyncio.Task[None]) -> None:
    """Read a finished task's exception. Otherwise asyncio would log the exception if nothing awaits the task."""
    if not task.cancelled():
        task.exception()
