"""A cache of the valid API keys in memory, so that authentication does not wait for the database."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Final

from saldo.auth.api_key import hash_secret
from saldo.auth.grants import Grant, Scope
from saldo.auth.rate_limit import RateLimit, TokenBucket
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
        has_key_ever_existed: True if any key has ever existed, False if not, and None if the database has not been
            queried yet.
    """

    def __init__(
        self,
        keys: Keys,
        configured_keys: Mapping[str, Scope],
        *,
        refresh_seconds: float,
        rate_limit: RateLimit | None,
        notify_changed: Callable[[], None],
    ) -> None:
        """
        Args:
            configured_keys: the keys in the settings, and the scope of each.
            refresh_seconds: polling interval. A revoked key may be accepted for this long after its revocation.
            rate_limit: the rate limit of each key; None means no limit.
            notify_changed: called after the valid keys have changed.
        """
        self._keys = keys
        self._rate_limit = rate_limit
        self._refresh_seconds = refresh_seconds
        self._notify_changed = notify_changed
        self._configured_grants = {
            hash_secret(secret.encode()): Grant(f"SALDO_{scope.upper()}_KEY", frozenset({scope}))
            for secret, scope in configured_keys.items()
        }
        self._grants: dict[bytes, Grant] = dict(self._configured_grants)
        self._buckets: dict[int, TokenBucket] = {}
        self._version: int | None = None
        self._loaded_at = -LOAD_INTERVAL_SECONDS_MIN
        self._load_lock = asyncio.Lock()
        self._next_load: asyncio.Task[None] | None = None
        self._poll_task: asyncio.Task[None] | None = None
        self.has_key_ever_existed: bool | None = True if configured_keys else None

    async def start(self) -> None:
        """Load the keys, and start to poll for changes."""
        await self.refresh()
        self._poll_task = asyncio.create_task(self._poll(), name="key poll")

    async def stop(self) -> None:
        """Stop polling."""
        await cancel_until_ended(
            task for task in (self._poll_task, self._next_load) if task is not None
        )

    async def find_grant(self, secret: bytes) -> Grant | None:
        """Return the grant of a key; None if the key is not valid.

        Raises:
            StoreError: the key is not known, and the database can't be queried.
        """
        digest = hash_secret(secret)
        grant = self._grants.get(digest)
        if grant is None:
            await self.refresh_coalesced()
            grant = self._grants.get(digest)
        return grant

    def get_loaded_grant(self, secret: bytes) -> Grant | None:
        """Return the grant of a key; None if the key is not valid, or was created after the last poll."""
        return self._grants.get(hash_secret(secret))

    def find_grant_by_name(
        self, name: str, matches_digest: Callable[[bytes], bool]
    ) -> Grant | None:
        """Return the grant of the valid key with this name.

        Return None if there is no such key, or if `matches_digest` rejects its digest.
        """
        for digest, grant in self._grants.items():
            if grant.name == name and matches_digest(digest):
                return grant
        return None

    def find_digest(self, name: str) -> bytes | None:
        """Return the digest of the valid key with this name; None if there is none. Clients don't know the digest."""
        return next((digest for digest, grant in self._grants.items() if grant.name == name), None)

    async def refresh_coalesced(self) -> None:
        """Load the changes that were made before the call. Concurrent callers share one query, which waits until
        `LOAD_INTERVAL_SECONDS_MIN` has passed since the last one.

        Raises:
            StoreError: the database can't be queried.
        """
        if self._next_load is None:
            self._next_load = asyncio.create_task(self._load_after_interval(), name="key refresh")
            self._next_load.add_done_callback(_consume_exception)
        await asyncio.shield(self._next_load)

    async def refresh(self) -> None:
        """Load the changes now. If the database can't be queried, log a warning and keep the known keys."""
        try:
            async with self._load_lock:
                await self._load_changes()
        except StoreError as error:
            _log.warning("can't read the API keys, so the known keys remain valid: %s", error)
        except Exception:
            _log.exception("reading the API keys failed unexpectedly")

    async def _load_after_interval(self) -> None:
        try:
            async with self._load_lock:
                await asyncio.sleep(self._loaded_at + LOAD_INTERVAL_SECONDS_MIN - time.monotonic())
                # The query below may miss a key that is created from now on, so later callers need another query.
                self._next_load = None
                await self._load_changes()
        finally:
            if self._next_load is asyncio.current_task():
                self._next_load = None

    async def _load_changes(self) -> None:
        self._loaded_at = time.monotonic()
        if self._version is not None and await self._keys.read_version() == self._version:
            return
        valid_keys = await self._keys.read_valid_keys()
        self._version = valid_keys.version
        # A table that is empty again after a failover or a manual change must not open the service to everybody.
        self.has_key_ever_existed = (
            bool(self.has_key_ever_existed) or valid_keys.has_key_ever_existed
        )
        self._replace_grants(valid_keys.keys)
        self._notify_changed()

    def _replace_grants(self, keys: Iterable[ValidKey]) -> None:
        keys = list(keys)
        if self._rate_limit is not None:
            # The level of each key's bucket is kept when another key changes.
            self._buckets = {
                key.id: self._buckets.get(key.id) or TokenBucket(self._rate_limit) for key in keys
            }
        self._grants = self._configured_grants | {key.hash: self._create_grant(key) for key in keys}

    def _create_grant(self, key: ValidKey) -> Grant:
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
