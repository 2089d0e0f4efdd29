"""The seals of a shard, held against its entries and against each other, in their order."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from saldo.ledger.audit import Fault, Rule
from saldo.ledger.seal import (
    ENTRY_BYTES,
    SEAL_ENTRIES_MAX,
    leaf_hash,
    merkle_root,
    seal_hash,
)


class Seal(NamedTuple):
    """A row of saldo.seals. root and hash: 32 bytes each."""

    shard: int
    first_seq: int
    last_seq: int
    root: bytes
    hash: bytes


class Chain:
    """Checks the seals of one shard. Leaves are kept until their seal has been checked."""

    def __init__(self, shard: int, sealed_seq: int, sealed_hash: bytes) -> None:
        """
        Args:
            sealed_seq: where the last seal that was checked ends; 0: none was.
            sealed_hash: that seal's.
        """
        self._shard = shard
        self.sealed_seq = sealed_seq
        self.sealed_hash = sealed_hash
        self._leaves: dict[int, bytes] = {}

    def add(self, seqs: Iterable[int], data: bytes) -> None:
        """Entries that seals to come stand for: their positions, and their bytes one after another."""
        for place, seq in enumerate(seqs):
            begin = place * ENTRY_BYTES
            self._leaves[seq] = leaf_hash(data[begin : begin + ENTRY_BYTES])

    def check(self, seal: Seal) -> Fault | None:
        """Holds the next seal against what is known, and goes on from it; all its entries have been added."""
        fault = self._fault(seal)
        # The greater: never back, whatever stands there.
        self.sealed_seq = max(seal.first_seq, seal.last_seq)
        self.sealed_hash = seal.hash
        self._leaves = {seq: leaf for seq, leaf in self._leaves.items() if seq > self.sealed_seq}
        return fault

    def _fault(self, seal: Seal) -> Fault | None:
        first, last, expected_first = seal.first_seq, seal.last_seq, self.sealed_seq + 1
        if first != expected_first or not 0 <= last - first < SEAL_ENTRIES_MAX:
            return Fault(
                Rule.CHAIN,
                self._shard,
                expected_first,
                max(expected_first, first - 1),
                f"a seal of {first} to {last} next",
                f"one from {expected_first} on, of {SEAL_ENTRIES_MAX} entries at most",
            )
        expected = seal_hash(self.sealed_hash, self._shard, first, last, seal.root)
        if seal.hash != expected:
            found = f"a seal with the hash {seal.hash.hex()}"
            return Fault(Rule.SEAL, self._shard, first, last, found, expected.hex())
        leaves = [self._leaves.get(seq) for seq in range(first, last + 1)]
        there = [leaf for leaf in leaves if leaf is not None]
        if len(there) < len(leaves):
            found = f"{len(there)} entries"
            return Fault(Rule.ROOT, self._shard, first, last, found, f"{len(leaves)} under a seal")
        root = merkle_root(there)
        if root != seal.root:
            found = f"entries with the root {root.hex()}"
            return Fault(
                Rule.ROOT, self._shard, first, last, found, f"{seal.root.hex()}, as sealed"
            )
        return None
