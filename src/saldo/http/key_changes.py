"""Making, replacing and revoking keys, for whoever asks: the routes, the console. Each is logged, with who asked."""

from __future__ import annotations

import logging
from datetime import timedelta
from typing import NamedTuple

from saldo.access.secret import digest_of, new_secret
from saldo.http.service import Service
from saldo.store.keys import Key, NewKey

_log = logging.getLogger("saldo.access")


class MadeKey(NamedTuple):
    """A new key. secret: what its holder sends; nobody sees it again."""

    key: Key
    secret: str


async def make_key(service: Service, wanted: NewKey, by: str) -> MadeKey:
    """Makes one that is valid at once.

    Args:
        by: whose grant it was asked for with.

    Raises:
        TooManyKeysError: see there.
    """
    secret = new_secret()
    digest = digest_of(secret.encode())
    key_id = await service.keys.create(wanted, digest, keys_max=service.settings.keys_max)
    return MadeKey(await _changed(service, key_id, "made", by), secret)


async def replace_key(service: Service, key_id: int, overlap: timedelta, by: str) -> MadeKey | None:
    """Makes one of the same rights; None: it isn't valid, or was replaced before. See `make_key`.

    Args:
        overlap: how long the old one stays valid, at most.
    """
    secret = new_secret()
    new_id = await service.keys.rotate(key_id, digest_of(secret.encode()), overlap)
    if new_id is None:
        return None
    return MadeKey(await _changed(service, new_id, f"made in place of {key_id}", by), secret)


async def revoke_key(service: Service, key_id: int, by: str) -> bool:
    """Lets nobody in with it any more; False: there is none, or it was revoked before."""
    if not await service.keys.revoke(key_id):
        return False
    await _changed(service, key_id, "revoked", by)
    return True


async def _changed(service: Service, key_id: int, what: str, by: str) -> Key:
    """Who has changed who may come in must be found afterwards."""
    await service.keyring.refresh()
    _log.info("key %d was %s by %s", key_id, what, by)
    key = await service.keys.get(key_id)
    assert key is not None  # keys are never deleted
    return key
