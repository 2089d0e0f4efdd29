"""One walk over the whole ledger, shard by shard: what `saldo verify` does, and from where it can go on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, Final, NamedTuple

from saldo.ledger.audit import Fault, Position, Rule
from saldo.ledger.chain import Seal
from saldo.ledger.model import SHARDS
from saldo.store.log import Log
from saldo.store.walk import LogReader, ShardWalk, users_without_entries, uuids_of_several

STEP_ENTRIES: Final = 8192
"""Looked at together: about 1 MB, and a twentieth of a second."""


class Checkpoint(NamedTuple):
    """From where a walk can go on.

    Attributes:
        log: which log it is of, see `saldo.store.log.Log.identity`.
        position: in the shard that is being looked at; those before are done. Its shard is 64: all are.
        entries: that were held against the rules in the shards that are done.
        sealed: those of them under a seal.
    """

    log: str
    position: Position
    entries: int = 0
    sealed: int = 0


class OtherLogError(Exception):
    """The checkpoint is of another log than this."""


class Verification:
    """A walk, in steps. `checkpoint` is always that of what has been found whole."""

    def __init__(self, pool: Any) -> None:
        self._reader = LogReader(pool)
        self._log = Log(pool)
        self.entries_total = 0
        self.checkpoint = Checkpoint("", Position(0))

    async def start(self, checkpoint: Checkpoint | None) -> None:
        """Finds out how much there is.

        Args:
            checkpoint: where another walk has stopped; None: from the beginning.

        Raises:
            OtherLogError: that was in another log.
            StoreError: the database can't be read.
        """
        identity = await self._log.identity()
        if checkpoint is not None and checkpoint.log != identity:
            raise OtherLogError(identity)
        heads = await self._log.heads()
        self.entries_total = sum(heads[shard] for shard in range(SHARDS))
        self.checkpoint = checkpoint or Checkpoint(identity, Position(0))

    @property
    def entries(self) -> int:
        """How many have been looked at, those before the checkpoint too."""
        return self.checkpoint.entries + self.checkpoint.position.seq

    async def kept(self, seals: Sequence[Seal]) -> list[Fault]:
        """Holds seals that were kept elsewhere against those in the database, whose chain the walk then checks.

        Args:
            seals: without a root.

        Raises:
            StoreError: the database can't be read.
        """
        here = await self._reader.kept([(seal.shard, seal.first_seq) for seal in seals])
        faults = []
        for seal in seals:
            found = here.get((seal.shard, seal.first_seq))
            if found is None or (found.last_seq, found.hash) != (seal.last_seq, seal.hash):
                written = "none" if found is None else f"{found.hash.hex()} to {found.last_seq}"
                faults.append(
                    Fault(
                        Rule.SEAL,
                        seal.shard,
                        seal.first_seq,
                        seal.last_seq,
                        f"a seal with the hash {written}" if found else "no seal",
                        f"{seal.hash.hex()} to {seal.last_seq}, as kept",
                    )
                )
        return faults

    async def steps(self) -> AsyncIterator[list[Fault]]:
        """Walks on from the checkpoint.

        Yields:
            After each step what is wrong in it, in the order of the log. The checkpoint passes over that only when
            more is asked for.

        Raises:
            StoreError: the database can't be read.
        """
        while (position := self.checkpoint.position).shard < SHARDS:
            walk = ShardWalk(self._reader, position)
            yield await walk.start()
            while not walk.done:
                yield await walk.step(STEP_ENTRIES)
                self.checkpoint = self.checkpoint._replace(position=walk.position)
            self.checkpoint = Checkpoint(
                self.checkpoint.log,
                Position(position.shard + 1),
                self.checkpoint.entries + walk.position.seq,
                self.checkpoint.sealed + walk.position.sealed_seq,
            )
        async for faults in users_without_entries(self._reader):
            yield faults
        async for faults in uuids_of_several(self._reader):
            yield faults
