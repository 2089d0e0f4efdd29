"""Keys: who may ask. All of it lives in PostgreSQL; of a key itself only a hash."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from saldo.store.pooled import Pooled


class TooManyKeysError(Exception):
    """There are as many as the setting allows."""


@dataclass(frozen=True, slots=True)
class Key:
    """A key as it is shown.

    Attributes:
        user_ids, networks: None: all users; from anywhere.
        replaced_by: the key that took its place; it is valid until `expires_at` still.
        valid: neither revoked nor expired.
    """

    id: int
    name: str
    scopes: list[str]
    user_ids: list[int] | None
    networks: list[str] | None
    created_at: datetime
    expires_at: datetime | None
    revoked_at: datetime | None
    replaced_by: int | None
    valid: bool


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key to be made; see `Key`."""

    name: str
    scopes: list[str]
    user_ids: list[int] | None
    networks: list[str] | None
    expires_at: datetime | None


class ValidKey(NamedTuple):
    """A key as it is checked. networks: of `ipaddress`; expires_at: seconds since the epoch."""

    id: int
    name: str
    hash: bytes
    scopes: list[str]
    user_ids: list[int] | None
    networks: list[Any] | None
    expires_at: float | None


class ValidKeys(NamedTuple):
    """All that are valid.

    Attributes:
        version: the last change of the keys that is seen here.
        any_key: whether there has ever been a key, valid or not.
    """

    version: int
    any_key: bool
    keys: list[ValidKey]


class Keys(Pooled):
    """Reads and writes them."""

    application_name = "saldo keys"

    async def version(self) -> int:
        """The last change: as long as it is the same, so are the keys, but for those that expire."""
        ((version,),) = await self._fetch("keys_version")
        return int(version)

    async def valid(self) -> ValidKeys:
        """All that are valid now."""
        rows = await self._fetch("keys_valid")
        version, any_key = rows[0][:2]
        return ValidKeys(
            version, any_key, [ValidKey(*row[2:]) for row in rows if row[2] is not None]
        )

    async def create(self, key: NewKey, digest: bytes, *, keys_max: int) -> int:
        """The id of a new one.

        Raises:
            TooManyKeysError: see there.
        """
        rows = await self._fetch(
            "key_create",
            *(key.name, digest, key.scopes, key.user_ids, key.networks, key.expires_at),
            keys_max,
        )
        if not rows:
            raise TooManyKeysError
        return int(rows[0][0])

    async def get(self, key_id: int) -> Key | None:
        """One, or None."""
        rows = await self._fetch("keys_page", 0, key_id, 1)
        return Key(*rows[0]) if rows else None

    async def page(self, *, after_id: int, limit: int) -> list[Key]:
        """Those with greater ids, by id; revoked and expired ones too."""
        return [Key(*row) for row in await self._fetch("keys_page", after_id, None, limit)]

    async def revoke(self, key_id: int) -> bool:
        """Nobody is let in with it any more; False: there is none of this id, or it was revoked before."""
        return bool(await self._fetch("key_revoke", key_id))

    async def rotate(self, key_id: int, digest: bytes, overlap: timedelta) -> int | None:
        """The id of another one that takes the place of a valid one; None: it isn't valid, or was replaced before.

        Args:
            overlap: how long the old one stays valid, at most.
        """
        rows = await self._fetch("key_rotate", key_id, digest, overlap)
        return int(rows[0][0]) if rows else None
