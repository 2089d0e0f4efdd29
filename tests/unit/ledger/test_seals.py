"""The bytes of an entry, the Merkle tree of RFC 6962, and the chain of seals."""

from __future__ import annotations

from datetime import UTC, datetime
from hashlib import sha256
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seals import (
    ENTRY_BYTES,
    FIRST_PREVIOUS,
    compute_inclusion_path,
    compute_merkle_root,
    encode_entry,
    hash_leaf,
    hash_seal,
)

OPENING = Entry(
    shard=1,
    seq=1,
    user_id=1,
    number=0,
    uuid=UUID("ea3015b1-c25c-47e5-beb7-2679ac7c89a7"),
    kind=Kind.OPENING,
    outcome=Outcome.POSTED,
    amount=0,
    balance=0,
    timestamp=None,
    horizon=None,
    recorded_at=datetime(2000, 1, 1, 0, 0, 1, tzinfo=UTC),
)

RFC_INPUTS = [
    *("", "00", "10", "2021", "3031", "40414243", "5051525354555657"),
    "606162636465666768696a6b6c6d6e6f",
]
RFC_ROOTS = [
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
"""Roots of the trees over the first 1, 2 … 8 inputs: reference vectors of Certificate Transparency."""


def split_root(leaves: list[bytes]) -> bytes:
    """Return the root by the recursive definition in RFC 6962, section 2.1."""
    if len(leaves) == 1:
        return leaves[0]
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    return sha256(b"\1" + split_root(leaves[:k]) + split_root(leaves[k:])).digest()


def split_path(leaves: list[bytes], index: int) -> list[bytes]:
    """Return an inclusion path by the definition in RFC 6962, section 2.1.1."""
    if len(leaves) == 1:
        return []
    k = 1
    while k * 2 < len(leaves):
        k *= 2
    if index < k:
        return [*split_path(leaves[:k], index), split_root(leaves[k:])]
    return [*split_path(leaves[k:], index - k), split_root(leaves[:k])]


def test_entry_bytes_equal_a_tuple_of_binary_copy() -> None:
    written = encode_entry(OPENING)
    assert len(written) == ENTRY_BYTES
    assert written[:14] == bytes.fromhex("000c 00000008 0000000000000001")
    assert written[62:74] == bytes.fromhex("00000008 8000000000000000")
    assert written[86:98] == bytes.fromhex("00000008 00000000000f4240")
    assert written[98:118] == bytes.fromhex("00000010 ea3015b1c25c47e5beb72679ac7c89a7")


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_those_of_certificate_transparency(size: int) -> None:
    leaves = [hash_leaf(bytes.fromhex(text)) for text in RFC_INPUTS[:size]]
    assert compute_merkle_root(leaves).hex() == RFC_ROOTS[size - 1]


@given(st.integers(1, 200), st.data())
def test_the_tree_is_that_of_the_rfc(size: int, data: st.DataObject) -> None:
    leaves = [hash_leaf(number.to_bytes(2, "big")) for number in range(size)]
    index = data.draw(st.integers(0, size - 1))
    assert compute_merkle_root(leaves) == split_root(leaves)
    assert compute_inclusion_path(leaves, index) == split_path(leaves, index)


def test_seal_hash_covers_all_fields_and_the_previous_seal() -> None:
    root = compute_merkle_root([hash_leaf(encode_entry(OPENING))])
    hashes = {
        hash_seal(FIRST_PREVIOUS, 1, 1, 1, root),
        hash_seal(FIRST_PREVIOUS, 2, 1, 1, root),
        hash_seal(FIRST_PREVIOUS, 1, 2, 2, root),
        hash_seal(FIRST_PREVIOUS, 1, 1, 2, root),
        hash_seal(FIRST_PREVIOUS, 1, 1, 1, sha256(root).digest()),
        hash_seal(root, 1, 1, 1, root),
    }
    assert len(hashes) == 6
