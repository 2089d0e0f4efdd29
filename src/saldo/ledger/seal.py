"""What makes history provable: the bytes of an entry, the tree over consecutive entries, the chain of seals.

A seal stands for some consecutive entries of a shard. Its root is that of a Merkle tree whose leaves are the entries
(RFC 6962, section 2.1, with SHA-256), and its hash covers the hash of the shard's seal before: whoever knows one seal
can tell whether anything up to it has been altered, removed, inserted or put in another order.

Pure, as all of `ledger`. The stand-alone verifier (`saldo.client.proof`) says the same in its own words.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from saldo.ledger.model import Entry

SEAL_ENTRIES_MAX: Final = 1024
"""Entries of one seal: a proof reads all of them, and is ten hashes long then."""

FIRST_PREVIOUS: Final = bytes(32)
"""What stands for the hash of the seal before, in a shard's first."""

ENTRY_COLUMNS: Final = (
    *("seq", "user_id", "number", "amount", "balance", "timestamp", "horizon", "recorded_at"),
    *("uuid", "shard", "kind", "outcome"),
)
"""The columns of an entry's bytes, in the order of the table."""

ENTRY_BYTES: Final = 136
"""Each entry's: no column is null, and none has a variable width."""

_ENTRY: Final = struct.Struct(">h" + "iq" * 8 + "i16s" + "ih" * 3)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUS_INFINITY: Final = -(2**63)


def entry_bytes(entry: Entry) -> bytes:
    """The entry as it is hashed: a tuple of PostgreSQL's binary COPY format.

    That is the number of columns as an int16, then for each column of `ENTRY_COLUMNS` its length as an int32 and its
    value: integers big-endian, times as microseconds since 2000-01-01 UTC (-infinity: the least int64), the uuid's 16
    bytes. So the database can give it without a word of SQL, and nothing has to be decoded to be hashed.
    """
    return _ENTRY.pack(
        len(ENTRY_COLUMNS),
        *(8, entry.seq, 8, entry.user_id, 8, entry.number, 8, entry.amount, 8, entry.balance),
        *(8, _instant(entry.timestamp), 8, _instant(entry.horizon), 8, _instant(entry.recorded_at)),
        *(16, entry.uuid.bytes),
        *(2, entry.shard, 2, entry.kind, 2, entry.outcome),
    )


def leaf_hash(entry: bytes) -> bytes:
    """The hash of a leaf, 32 bytes."""
    return sha256(b"\0" + entry).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """The root of the tree over these leaf hashes, one at least."""
    level = list(leaves)
    # An odd one out goes up as it is. That is RFC 6962's tree, built from below: its left subtrees are full.
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\1" + left + right).digest() for left, right in pairs] + odd
    return level[0]


def inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """The audit path of RFC 6962, section 2.1.1: the hashes that lead from a leaf to the root, from below."""
    path = []
    level = list(leaves)
    while len(level) > 1:
        sibling = index ^ 1
        if sibling < len(level):
            path.append(level[sibling])
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\1" + left + right).digest() for left, right in pairs] + odd
        index //= 2
    return path


def seal_hash(previous: bytes, shard: int, first_seq: int, last_seq: int, root: bytes) -> bytes:
    """The hash of a seal, 32 bytes.

    Args:
        previous: the hash of the shard's seal before, which ends at `first_seq - 1`; `FIRST_PREVIOUS`: there is none.
    """
    return sha256(
        b"\2" + previous + struct.pack(">hqq", shard, first_seq, last_seq) + root
    ).digest()


def _instant(instant: datetime | None) -> int:
    return _MINUS_INFINITY if instant is None else (instant - _EPOCH) // _MICROSECOND
