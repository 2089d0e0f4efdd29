"""The text of a key: what its holder sends, and what is kept of it."""

from __future__ import annotations

import secrets
from hashlib import sha256
from typing import Final

PREFIX: Final = "saldo_"
"""So that a search for leaked keys finds ours."""

SECRET_BYTES: Final = 32

SECRET_LENGTH_MIN: Final = 32
"""Characters of a key that an operator makes up: nobody guesses one of so many at random."""

SECRET_LENGTH_MAX: Final = 200


def new_secret() -> str:
    """A key that nobody can guess."""
    return PREFIX + secrets.token_urlsafe(SECRET_BYTES)


def digest_of(secret: bytes) -> bytes:
    """What is kept of a key, 32 bytes.

    SHA-256, not a slow password hash: a key is random and long, so there is nothing to guess, and it is checked with
    every request. Keys are found by their digest, so the time that takes tells nothing of the key.
    """
    return sha256(secret).digest()
