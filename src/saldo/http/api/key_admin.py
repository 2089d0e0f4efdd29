"""Creation, rotation and revocation of API keys, for the routes and the console. Each change is logged with its
author."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NamedTuple

from saldo.auth.api_key import generate_secret, hash_secret
from saldo.http.api.context import AppContext
from saldo.store.keys import Key, NewKey

_log = logging.getLogger("saldo.auth")


class CreatedKey(NamedTuple):
    """A new key.

    Attributes:
        secret: The text that clients send. It is not stored, so it can't be shown again.
    """

    key: Key
    secret: str


async def issue_key(service: AppContext, new_key: NewKey, author: str) -> CreatedKey:
    """Create a key that is valid immediately.

    Args:
        author: Name of the grant that requested the change, for the log.

    Raises:
        TooManyKeysError: The maximum number of valid keys exists already.
    """
    secret = generate_secret()
    digest = hash_secret(secret.encode())
    key_id = await service.keys.create(new_key, digest, keys_max=service.settings.keys_max)
    return CreatedKey(await _log_change(service, key_id, "made", author), secret)


async def replace_key(
    service: AppContext, key_id: int, overlap: timedelta, author: str
) -> CreatedKey | None:
    """Create a key that replaces another one and has the same rights. Return None if the old key is not valid or was
    replaced before.

    Args:
        overlap: Maximum time for which the old key remains valid.
        author: Name of the grant that requested the change, for the log.
    """
    secret = generate_secret()
    new_id = await service.keys.rotate(key_id, hash_secret(secret.encode()), overlap)
    if new_id is None:
        return None
    return CreatedKey(
        await _log_change(service, new_id, f"made in place of {key_id}", author), secret
    )


async def revoke_key(service: AppContext, key_id: int, author: str) -> bool:
    """Revoke a key; return False if it does not exist or was revoked before."""
    if not await service.keys.revoke(key_id):
        return False
    await _log_change(service, key_id, "revoked", author)
    return True


async def _log_change(service: AppContext, key_id: int, change: str, author: str) -> Key:
    """Refresh the cache of keys, log the change with its author for the audit trail, and return the key."""
    await service.key_cache.refresh()
    _log.info("key %d was %s by %s", key_id, change, author)
    key = await service.keys.get(key_id)
    assert key is not None  # keys are never deleted
    return key
