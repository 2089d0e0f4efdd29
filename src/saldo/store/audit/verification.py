"""Verification of the whole ledger, shard by shard, for `saldo verify`. A later verification can continue from a
checkpoint."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.audit.rules import AuditPosition, LedgerFault, Rule
from saldo.ledger.audit.seal_chain import SealRow
from saldo.ledger.model import SHARDS
from saldo.store.audit.shard_scan import (
    AuditReader,
    ShardScan,
    find_duplicate_uuids,
    find_users_without_entries,
)
from saldo.store.heads import HeadStore, find_seals_ending_at
from saldo.store.log import Log
from saldo.store.schema.definition_check import SchemaCheckResult, check_schema
from saldo.store.seals import SealStore

if TYPE_CHECKING:
    # The module needs the library for signatures, which takes long to load.
    from saldo.ledger.heads import SignedHead

STEP_ENTRIES: Final = 8192
"""Number of entries checked in one step. A step needs about 1 MB of memory and takes about 50 ms."""


class Checkpoint(NamedTuple):
    """A state from which a verification can continue.

    Attributes:
        log: The identity of the log, see `saldo.store.log.Log.read_identity`.
        position: The position in the shard that is being checked. The shards before that one are complete; shard 64
            means that all shards are complete.
        entries: The number of entries checked in the complete shards.
        sealed: The number of sealed entries among those of the complete shards.
    """

    log: str
    position: AuditPosition
    entries: int = 0
    sealed: int = 0


class CheckpointMismatchError(Exception):
    """Raised when the checkpoint belongs to another log."""


class Verification:
    """A verification, in steps. Everything before its `checkpoint` has been checked and yielded."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._reader = AuditReader(pool)
        self._log = Log(pool)
        self.entries_total = 0
        self.checkpoint = Checkpoint("", AuditPosition(0))

    async def start(self, checkpoint: Checkpoint | None) -> None:
        """Read the number of entries, and set the checkpoint.

        Args:
            checkpoint: The checkpoint of another verification to continue from; None begins at the start of the log.

        Raises:
            CheckpointMismatchError: The checkpoint belongs to another log.
            StoreError: The database can't be read.
        """
        identity = await self._log.read_identity()
        if checkpoint is not None and checkpoint.log != identity:
            raise CheckpointMismatchError(identity)
        heads = await self._log.read_last_positions()
        self.entries_total = sum(heads[shard] for shard in range(SHARDS))
        self.checkpoint = checkpoint or Checkpoint(identity, AuditPosition(0))

    @property
    def entries(self) -> int:
        """The number of entries checked so far, including those that were checked before the initial checkpoint."""
        return self.checkpoint.entries + self.checkpoint.position.seq

    async def compare_kept_seals(self, seals: Sequence[SealRow]) -> list[LedgerFault]:
        """Compare seals that were kept elsewhere with those in the database. The chain of the seals is checked by
        `run_steps`.

        Args:
            seals: The kept seals. Their roots are not compared.

        Raises:
            StoreError: The database can't be read.
        """
        here = await self._reader.find_seals([(seal.shard, seal.first_seq) for seal in seals])
        faults = []
        for seal in seals:
            found_seals = here.get((seal.shard, seal.first_seq))
            if found_seals is None or (found_seals.last_seq, found_seals.hash) != (
                seal.last_seq,
                seal.hash,
            ):
                written = (
                    "none"
                    if found_seals is None
                    else f"{found_seals.hash.hex()} to {found_seals.last_seq}"
                )
                faults.append(
                    LedgerFault(
                        Rule.SEAL,
                        seal.shard,
                        seal.first_seq,
                        seal.last_seq,
                        f"a seal with the hash {written}" if found_seals else "no seal",
                        f"{seal.hash.hex()} to {seal.last_seq}, as kept",
                    )
                )
        return faults

    async def read_ledger_id(self) -> tuple[UUID, bytes | None]:
        """Return the id of the ledger, and the file of the newest head that the ledger has published.

        Raises:
            StoreError: The database can't be read.
        """
        return await HeadStore(self._pool).read_ledger()

    async def compare_heads(self, heads: Sequence[SignedHead]) -> list[LedgerFault]:
        """Compare signed heads with the seals in the database. Return the first fault of each shard.

        Args:
            heads: The heads, in the order of their numbers.

        Raises:
            StoreError: The database can't be read.
        """
        wanted: dict[tuple[int, int, bytes], SignedHead] = {}
        for signed in heads:
            for shard, end in enumerate(signed.head.seals):
                if end.seq > 0:
                    wanted.setdefault((shard, end.seq, end.hash), signed)
        here = await find_seals_ending_at(
            self._pool, dict.fromkeys((shard, seq) for shard, seq, _ in wanted)
        )
        sealed: dict[int, int] | None = None
        faults: dict[int, LedgerFault] = {}
        for (shard, seq, hash_), signed in wanted.items():
            if here.get((shard, seq)) == hash_ or shard in faults:
                continue
            if sealed is None:
                sealed = {
                    seal.shard: seal.last_seq
                    for seal in await SealStore(self._pool).list_last_seals()
                }
            faults[shard] = _build_head_fault(signed, shard, here.get((shard, seq)), sealed)
        return [faults[shard] for shard in sorted(faults)]

    async def check_schema(self) -> SchemaCheckResult:
        """Compare the schema with the one that the migrations create.

        Raises:
            StoreError: The database can't be read.
        """
        return await check_schema(self._pool)

    async def run_steps(self) -> AsyncIterator[list[LedgerFault]]:
        """Verify the rest of the ledger, from the checkpoint on.

        Yields:
            The faults of each step, in the order of the log. The checkpoint moves past a step only when the next item
            is requested.

        Raises:
            StoreError: The database can't be read.
        """
        while (position := self.checkpoint.position).shard < SHARDS:
            scan = ShardScan(self._reader, position)
            yield await scan.start()
            while not scan.is_done:
                yield await scan.step(STEP_ENTRIES)
                self.checkpoint = self.checkpoint._replace(position=scan.position)
            self.checkpoint = Checkpoint(
                self.checkpoint.log,
                AuditPosition(position.shard + 1),
                self.checkpoint.entries + scan.position.seq,
                self.checkpoint.sealed + scan.position.sealed_seq,
            )
        async for faults in find_users_without_entries(self._reader):
            yield faults
        async for faults in find_duplicate_uuids(self._reader):
            yield faults


def _build_head_fault(
    signed: SignedHead, shard: int, found: bytes | None, sealed: Mapping[int, int]
) -> LedgerFault:
    """Return the fault of a shard whose seals do not match a head.

    Args:
        found: The hash of the seal that ends where the head says; None if there is none.
        sealed: The last sealed `seq` of each shard that has seals.
    """
    end = signed.head.seals[shard]
    expected = f"{end.hash.hex()} to {end.seq}, as in {signed.file_name}"
    if sealed.get(shard, 0) < end.seq:
        ends_at = sealed.get(shard, 0)
        return LedgerFault(
            Rule.HEAD,
            shard,
            ends_at + 1,
            end.seq,
            f"the seals to end at {ends_at}",
            f"a seal {expected}",
        )
    hash_ = "no seal that ends there" if found is None else f"a seal with the hash {found.hex()}"
    return LedgerFault(Rule.SEAL, shard, end.seq, end.seq, hash_, expected)
