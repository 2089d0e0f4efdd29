"""Seals: what the sealer reads and appends, and what proofs are made of. See `saldo.ledger.seal`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seal import ENTRY_BYTES, FIRST_PREVIOUS
from saldo.store.connection import fetch
from saldo.store.errors import RejectedError, translated
from saldo.store.statements import statement

ENTRIES_MAX: Final = 16_384
"""Entries that one look takes, and at most one seal's more (sql/seals_entries.sql): 2.4 MB. What a look takes beside
its entries is shared by them."""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_SHARD: Final = slice(122, 124)
"""Where an entry's bytes have its shard."""


class LastSeal(NamedTuple):
    """Up to where a shard is sealed, and the hash of the seal that ends there; 0 and `FIRST_PREVIOUS`: nothing is.

    waited_seconds: for how long the entry after it has waited.
    """

    seq: int
    hash: bytes
    waited_seconds: float = 0.0


class NewSeal(NamedTuple):
    """A seal that is to be appended. previous: the hash of the shard's seal before. Hashes are 32 bytes."""

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    root: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class Seal:
    """A seal as it is recorded; see `NewSeal`."""

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    root: bytes
    hash: bytes
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry, its seal, and the leaf hashes of all entries of the seal, in their order.

    Attributes:
        seal: None, and no leaves: it is not sealed yet.
    """

    entry: Entry
    seal: Seal | None
    leaves: list[bytes]


@dataclass(frozen=True, slots=True)
class SealTotals:
    """How far the log is sealed.

    Attributes:
        entries: sealed.
        seconds_behind: age of the oldest entry that is not; 0: none.
    """

    entries: int
    seconds_behind: float


class Seals:
    """Reads and appends them over a pool of connections. Each call is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def behind(self) -> dict[int, LastSeal]:
        """The shards that have entries after their last seal.

        Raises:
            StoreError: the database can't be read.
        """
        rows = await fetch(self._pool, "seals_behind")
        return {
            shard: LastSeal(seq, last or FIRST_PREVIOUS, waited)
            for shard, seq, last, waited in rows
        }

    async def entries(self) -> dict[int, list[bytes]]:
        """The bytes of entries after the last seal of their shard, by shard, in their order (`entry_bytes`).

        Of each shard no more than a seal may have, and of all about `ENTRIES_MAX`: of the shards that have waited
        longest.

        Raises:
            StoreError: the database can't be read.
        """
        parts: list[bytes] = []

        async def take(part: bytes) -> None:
            parts.append(part)

        try:
            async with self._pool.acquire() as connection:
                await connection.copy_from_query(
                    statement("seals_entries", distributed=connection.distributed),
                    output=take,
                    format="binary",
                )
        except Exception as error:
            raise translated(error) from error
        return by_shard(b"".join(parts))

    async def append(self, seals: Sequence[NewSeal]) -> int:
        """Appends those that follow their shard's last seal, at most one a shard; how many they were.

        The others are another sealer's by now.

        Raises:
            StoreError: the database can't be asked; perhaps they are appended.
        """
        return len(await fetch(self._pool, "seals_append", *zip(*seals, strict=True)))

    async def totals(self) -> SealTotals:
        """How far the log is sealed.

        Raises:
            StoreError: the database can't be asked.
        """
        ((entries, seconds_behind),) = await fetch(self._pool, "seals")
        return SealTotals(entries, seconds_behind)

    async def newest(self) -> list[Seal]:
        """The last seal of each shard that has one.

        Raises:
            StoreError: the database can't be asked.
        """
        return [_seal(*row) for row in await fetch(self._pool, "seals_newest")]

    async def page(self, shard: int, after: int, limit: int) -> list[Seal]:
        """Up to so many seals of a shard that begin after a `seq`, in their order.

        Raises:
            StoreError: the database can't be asked.
        """
        return [_seal(*row) for row in await fetch(self._pool, "seals_page", shard, after, limit)]

    async def entry(self, uuid: UUID) -> SealedEntry | None:
        """The entry under a uuid with its seal; None: there is none. Reads at most `SEAL_ENTRIES_MAX` entries.

        Raises:
            StoreError: the database can't be asked.
        """
        rows = await fetch(self._pool, "proof", uuid)
        if not rows:
            return None
        shard, seq, user_id, number, found, kind, outcome, *values = list(rows[0])[:12]
        entry = Entry(shard, seq, user_id, number, found, Kind(kind), Outcome(outcome), *values)
        first_seq, *others, leaves = list(rows[0])[12:]
        seal = None if first_seq is None else _seal(shard, first_seq, *others)
        return SealedEntry(entry, seal, leaves)


def by_shard(copied: bytes) -> dict[int, list[bytes]]:
    """What a binary COPY of ENTRY_COLUMNS gave, in the order of shards, entry by entry.

    Raises:
        RejectedError: it has another form.
    """
    length = len(copied) - len(_HEADER) - len(_TRAILER)
    if not copied.startswith(_HEADER) or not copied.endswith(_TRAILER) or length % ENTRY_BYTES:
        raise RejectedError("entries were not copied as their columns should be")
    starts = range(len(_HEADER), len(_HEADER) + length, ENTRY_BYTES)
    entries = [copied[start : start + ENTRY_BYTES] for start in starts]
    found, begin = {}, 0
    while begin < len(entries):
        shard = _shard(entries[begin])
        end = bisect_right(entries, shard, begin, key=_shard)
        found[shard] = entries[begin:end]
        begin = end
    return found


def _shard(entry: bytes) -> int:
    return int.from_bytes(entry[_SHARD], "big")


def _seal(
    shard: int,
    first_seq: int,
    last_seq: int,
    previous: bytes | None,
    root: bytes,
    hash_: bytes,
    sealed_at: datetime,
) -> Seal:
    return Seal(shard, first_seq, last_seq, previous or FIRST_PREVIOUS, root, hash_, sealed_at)
