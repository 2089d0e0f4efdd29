"""The API keys in PostgreSQL. Only the hash of a key is stored."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from saldo.ledger.model import USER_ID_MAX
from saldo.store.connections.pooled_store import PooledStore


class TooManyKeysError(Exception):
    """Raised when the limit of valid keys is reached."""


@dataclass(frozen=True, slots=True)
class Key:
    """The description of a key.

    Attributes:
        user_ids, networks: The users and networks that the key is limited to; None if it is not limited.
        replaced_by: The id of the key that replaced this key. This key remains valid until `expires_at`.
        valid: Whether the key is neither revoked nor expired.
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
    """A key to be created; see `Key`."""

    name: str
    scopes: list[str]
    user_ids: list[int] | None
    networks: list[str] | None
    expires_at: datetime | None


class ValidKey(NamedTuple):
    """The data with which requests are authenticated; `expires_at` is in seconds since the Unix epoch."""

    id: int
    name: str
    hash: bytes
    scopes: list[str]
    user_ids: list[int] | None
    networks: list[Any] | None
    expires_at: float | None


class ValidKeys(NamedTuple):
    """All valid keys.

    Attributes:
        version: The version of the last change that is included.
        has_key_ever_existed: Whether a key has ever been created, valid or not.
    """

    version: int
    has_key_ever_existed: bool
    keys: list[ValidKey]


class Keys(PooledStore):
    """Reads and writes the API keys."""

    application_name = "saldo keys"

    async def read_version(self) -> int:
        """Return the version of the last change. While the version is the same, the keys are unchanged, except that
        keys may expire."""
        ((version,),) = await self._fetch("keys/version")
        return int(version)

    async def read_valid_keys(self) -> ValidKeys:
        """Return all keys that are valid now."""
        rows = await self._fetch("keys/valid")
        version, any_key = rows[0][:2]
        return ValidKeys(
            version, any_key, [ValidKey(*row[2:]) for row in rows if row[2] is not None]
        )

    async def create(self, key: NewKey, digest: bytes, *, keys_max: int) -> int:
        """Create a key and return its id.

        Raises:
            TooManyKeysError: The limit of valid keys is reached.
        """
        rows = await self._fetch(
            "keys/create",
            *(key.name, digest, key.scopes, key.user_ids, key.networks, key.expires_at),
            keys_max,
        )
        if not rows:
            raise TooManyKeysError
        return int(rows[0][0])

    async def get(self, key_id: int) -> Key | None:
        """Return a key, or None."""
        if key_id > USER_ID_MAX:
            return None
        rows = await self._fetch("keys/page", 0, key_id, 1)
        return Key(*rows[0]) if rows else None

    async def list_page(self, *, after_id: int, limit: int) -> list[Key]:
        """Return a page of keys by id, including revoked and expired ones."""
        return [Key(*row) for row in await self._fetch("keys/page", after_id, None, limit)]

    async def revoke(self, key_id: int) -> bool:
        """Revoke a key. Return False if it does not exist, or is revoked already."""
        if key_id > USER_ID_MAX:
            return False
        return bool(await self._fetch("keys/revoke", key_id))

    async def rotate(self, key_id: int, digest: bytes, overlap: timedelta) -> int | None:
        """Replace a valid key and return the id of the new key. Return None if the old key is not valid or was replaced
        before.

        Args:
            overlap: The maximum time for which the old key remains valid.
        """
        if key_id > USER_ID_MAX:
            return None
        rows = await self._fetch("keys/rotate", key_id, digest, overlap)
        return int(rows[0][0]) if rows else None
