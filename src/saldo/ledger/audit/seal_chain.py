"""The check of a shard's seals, in order, against its entries and against each other."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from saldo.ledger.audit.rules import LedgerFault, Rule
from saldo.ledger.seals import (
    ENTRY_BYTES,
    SEAL_ENTRIES_MAX,
    compute_merkle_root,
    hash_leaf,
    hash_seal,
)


class SealRow(NamedTuple):
    """A row of saldo.seals. The root and the hash have 32 bytes each."""

    shard: int
    first_seq: int
    last_seq: int
    root: bytes
    hash: bytes


class SealChain:
    """A checker of one shard's seals. It keeps leaves until their seal has been checked."""

    def __init__(self, shard: int, sealed_seq: int, sealed_hash: bytes) -> None:
        """
        Args:
            sealed_seq: the `seq` at which the last checked seal ends; 0 if none was checked.
            sealed_hash: the hash of that seal.
        """
        self._shard = shard
        self.sealed_seq = sealed_seq
        self.sealed_hash = sealed_hash
        self._leaves: dict[int, bytes] = {}

    def add_entries(self, seqs: Iterable[int], data: bytes) -> None:
        """Add entries that the next seals cover: their positions, and their concatenated bytes."""
        for place, seq in enumerate(seqs):
            begin = place * ENTRY_BYTES
            self._leaves[seq] = hash_leaf(data[begin : begin + ENTRY_BYTES])

    def check_seal(self, seal: SealRow) -> LedgerFault | None:
        """Check the next seal, whose entries must have been added before. The following call continues after this
        seal."""
        fault = self._find_fault(seal)
        # The greater of the two is taken, because in an altered seal `last_seq` may be less than `first_seq`.
        self.sealed_seq = max(seal.first_seq, seal.last_seq)
        self.sealed_hash = seal.hash
        self._leaves = {seq: leaf for seq, leaf in self._leaves.items() if seq > self.sealed_seq}
        return fault

    def _find_fault(self, seal: SealRow) -> LedgerFault | None:
        first, last, expected_first = seal.first_seq, seal.last_seq, self.sealed_seq + 1
        if first != expected_first or not 0 <= last - first < SEAL_ENTRIES_MAX:
            return LedgerFault(
                Rule.CHAIN,
                self._shard,
                expected_first,
                max(expected_first, first - 1),
                f"a seal of {first} to {last} next",
                f"one from {expected_first} on, of {SEAL_ENTRIES_MAX} entries at most",
            )
        expected = hash_seal(self.sealed_hash, self._shard, first, last, seal.root)
        if seal.hash != expected:
            found = f"a seal with the hash {seal.hash.hex()}"
            return LedgerFault(Rule.SEAL, self._shard, first, last, found, expected.hex())
        leaves = [self._leaves.get(seq) for seq in range(first, last + 1)]
        there = [leaf for leaf in leaves if leaf is not None]
        if len(there) < len(leaves):
            found = f"{len(there)} entries"
            return LedgerFault(
                Rule.ROOT, self._shard, first, last, found, f"{len(leaves)} under a seal"
            )
        root = compute_merkle_root(there)
        if root != seal.root:
            found = f"entries with the root {root.hex()}"
            return LedgerFault(
                Rule.ROOT, self._shard, first, last, found, f"{seal.root.hex()}, as sealed"
            )
        return None
