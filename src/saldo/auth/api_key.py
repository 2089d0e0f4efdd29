"""API keys: the text that the holder of a key sends, and the digest that the database stores."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "saldo_"
"""Prefix of generated keys. Secret scanners recognize leaked keys by this prefix."""

SECRET_BYTES: Final = 32

SECRET_LENGTH_MIN: Final = 32
"""Minimum length, in characters, of a key that an operator chooses. Shorter keys could be guessed."""

SECRET_LENGTH_MAX: Final = 200


def generate_secret() -> str:
    """Return a new random key."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def hash_secret(secret: bytes) -> bytes:
    """Return the digest of a key (32 bytes). The digest is stored instead of the key.

    The digest is SHA-256 and not a slow password hash: keys are long and random, so they can't be guessed, and every
    request must compute the digest. Keys are looked up by their digest, so that the duration of a lookup reveals
    nothing about the key.
    """
    return sha256(secret).digest()
