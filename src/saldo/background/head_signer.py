"""The signer of heads. It does no I/O, and signs nothing that contradicts the heads before."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from saldo.ledger.heads import (
    CLOCK_STEP,
    Head,
    InvalidHeadError,
    SealEnd,
    SignedHead,
    find_regression,
    parse_head,
    sign_head,
)
from saldo.store.heads import HeadTurn


class HeadRefusedError(Exception):
    """Raised when no head may be signed, because the database contradicts the heads before or names another key. The
    message is one line for the operator."""


class HeadKeys(NamedTuple):
    """The private keys.

    Attributes:
        current: The key that signs.
        following: The key that replaces it after one more head; None if there is none.
        is_replacement: Whether the current key may sign although the head before does not name it.
    """

    current: Ed25519PrivateKey
    following: Ed25519PrivateKey | None = None
    is_replacement: bool = False


class HeadSigner:
    """Signs heads. It remembers the newest head, because a superuser of the database could put an older one back."""

    def __init__(self, keys: HeadKeys) -> None:
        self._keys = keys
        self._newest: SignedHead | None = None

    def read_newest(self, turn: HeadTurn) -> SignedHead | None:
        """Return the newest head that the database contains; None if there is none.

        Raises:
            HeadRefusedError: The database contains another head than the newest one.
        """
        stored = None if turn.document is None else _parse_stored_head(turn.document)
        if stored is not None and stored.head.ledger != turn.ledger_id:
            raise HeadRefusedError(
                f"the database has the ledger id {turn.ledger_id}, but its newest head belongs to {stored.head.ledger}"
            )
        newest = self._newest
        # After a restore or a promotion the log has another identity, and the database may have lost heads.
        if newest is not None and newest.head.epoch == turn.identity:
            number = 0 if stored is None else stored.head.number
            is_other = stored is not None and stored.hash != newest.hash
            if number < newest.head.number or (number == newest.head.number and is_other):
                raise HeadRefusedError(
                    f"the database does not contain head {newest.head.number}, which this process has signed: its "
                    "newest head was replaced"
                )
        return stored

    def sign(
        self, turn: HeadTurn, previous: SignedHead | None, seals: Sequence[SealEnd], now: datetime
    ) -> SignedHead:
        """Return the head that follows.

        Args:
            seals: The end of the last seal of each shard.
            now: The time of this machine.

        Raises:
            HeadRefusedError: The seals can't follow those of the head before, or that head names another key.
        """
        key, next_key = self._choose_key(previous)
        head = Head(
            ledger=turn.ledger_id,
            epoch=turn.identity,
            number=1 if previous is None else previous.head.number + 1,
            time=now if previous is None else max(now, previous.head.time + CLOCK_STEP),
            previous=None if previous is None else previous.reference,
            next_key=next_key,
            seals=tuple(seals),
            key=_get_public_key(key),
        )
        regression = None if previous is None else find_regression(previous.head, head)
        if regression is not None:
            raise HeadRefusedError(
                f"the database has {regression}: sealed entries were changed or cut off after they were published"
            )
        return sign_head(head, key)

    def remember(self, head: SignedHead) -> None:
        """Remember the newest head, after the database has stored it."""
        self._newest = head

    def _choose_key(self, previous: SignedHead | None) -> tuple[Ed25519PrivateKey, bytes | None]:
        """Return the key that signs, and the public key that the head names as the next one."""
        current, following, is_replacement = self._keys
        next_key = None if following is None else _get_public_key(following)
        if previous is None:
            return current, next_key
        expected = previous.head.next_key or previous.head.key
        if following is not None and expected == next_key:
            return following, None
        if expected == _get_public_key(current) or is_replacement:
            return current, next_key
        raise HeadRefusedError(
            f"head {previous.head.number} names the key {expected.hex()}, but SALDO_SEALS_KEY_FILE contains "
            f"{_get_public_key(current).hex()}: see docs/howto/prove.md about replacing the key"
        )


def _parse_stored_head(document: bytes) -> SignedHead:
    try:
        stored = parse_head(document)
    except InvalidHeadError as error:
        raise HeadRefusedError(f"the database contains {error} as its newest head") from None
    if not stored.has_valid_signature:
        raise HeadRefusedError("the newest head in the database has a wrong signature")
    return stored


def _get_public_key(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes_raw()
