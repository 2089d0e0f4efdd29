"""Seals: the bytes of an entry, the Merkle tree over consecutive entries, and the chain of seals.

A seal covers consecutive entries of a shard. Its root is the root of a Merkle tree whose leaves are the entries (RFC
6962, section 2.1, with SHA-256), and its hash includes the hash of the shard's preceding seal. With a known seal, a
verifier can detect whether any entry up to the end of this seal was altered, removed, inserted or reordered.

The functions are pure. The stand-alone verifier (`saldo.client.proof`) implements the same functions independently.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from typing import Final

from saldo.ledger.model import Entry

SEAL_ENTRIES_MAX: Final = 1024
"""Maximum number of entries of a seal. To build a proof, all entries of the seal are read. The proof has at most ten
hashes."""

FIRST_PREVIOUS: Final = bytes(32)
"""Previous hash of a shard's first seal."""

ENTRY_COLUMNS: Final = (
    *("seq", "user_id", "number", "amount", "balance", "timestamp", "horizon", "recorded_at"),
    *("uuid", "shard", "kind", "outcome"),
)
"""The columns of an entry's bytes, in the order of the table."""

ENTRY_BYTES: Final = 136
"""Size of an entry in bytes. It is constant, because no column is null or has a variable width."""

_ENTRY: Final = struct.Struct(">h" + "iq" * 8 + "i16s" + "ih" * 3)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)
_MINUS_INFINITY: Final = -(2**63)


def encode_entry(entry: Entry) -> bytes:
    """Return the bytes of an entry that are hashed: a tuple in PostgreSQL's binary COPY format.

    The bytes are the number of columns as an int16, and for each column of `ENTRY_COLUMNS` its length as an int32 and
    its value. Integers are big-endian, times are microseconds since 2000-01-01 UTC (-infinity is the least int64), and
    the uuid has 16 bytes. The database can output this format itself, and nothing needs to be decoded before hashing.
    """
    return _ENTRY.pack(
        len(ENTRY_COLUMNS),
        *(8, entry.seq, 8, entry.user_id, 8, entry.number, 8, entry.amount, 8, entry.balance),
        *(
            8,
            _instant_to_microseconds(entry.timestamp),
            8,
            _instant_to_microseconds(entry.horizon),
            8,
            _instant_to_microseconds(entry.recorded_at),
        ),
        *(16, entry.uuid.bytes),
        *(2, entry.shard, 2, entry.kind, 2, entry.outcome),
    )


def hash_leaf(entry: bytes) -> bytes:
    """Return the hash of a leaf, 32 bytes."""
    return sha256(b"\0" + entry).digest()


def compute_merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Return the root of the tree over at least one leaf hash."""
    level = list(leaves)
    # An unpaired node moves up unchanged. The result equals RFC 6962's tree, whose left subtrees are full.
    while len(level) > 1:
        odd = level[-1:] if len(level) % 2 else []
        pairs = zip(level[::2], level[1::2], strict=False)
        level = [sha256(b"\1" + left + right).digest() for left, right in pairs] + odd
    return level[0]


def compute_inclusion_path(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Return the audit path of RFC 6962, section 2.1.1: the hashes from a leaf up to the root."""
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


def hash_seal(previous: bytes, shard: int, first_seq: int, last_seq: int, root: bytes) -> bytes:
    """Return the hash of a seal, 32 bytes.

    Args:
        previous: hash of the shard's preceding seal, which ends at `first_seq - 1`; `FIRST_PREVIOUS` if there is none.
    """
    return sha256(
        b"\2" + previous + struct.pack(">hqq", shard, first_seq, last_seq) + root
    ).digest()


def _instant_to_microseconds(instant: datetime | None) -> int:
    return _MINUS_INFINITY if instant is None else (instant - _EPOCH) // _MICROSECOND
