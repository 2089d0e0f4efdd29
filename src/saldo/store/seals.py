"""Reads and writes of seals, for the sealer and for proofs. See `saldo.ledger.seals`."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, NamedTuple
from uuid import UUID

from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seals import ENTRY_BYTES, FIRST_PREVIOUS
from saldo.store.connections.connection import acquire, fetch
from saldo.store.errors import RejectedError, translate_error
from saldo.store.statements import load_statement

ENTRIES_MAX: Final = 16_384
"""Maximum number of entries that one read returns (2.4 MB). The result may exceed it by the entries of one seal.

The statement (sql/seals/unsealed_entries.sql) contains the same number. The number is large, because each read has a
fixed cost.
"""

_HEADER: Final = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TRAILER: Final = b"\xff\xff"
_SHARD: Final = slice(122, 124)
"""The position of the shard in an entry's bytes."""


class LastSeal(NamedTuple):
    """The last seal of a shard, as far as the next seal needs it.

    Attributes:
        seq: The last sealed `seq`; 0 if the shard has no seal.
        hash: The hash of the seal; `FIRST_PREVIOUS` if the shard has no seal.
        waited_seconds: The age of the first entry after the seal.
    """

    seq: int
    hash: bytes
    waited_seconds: float = 0.0


class NewSeal(NamedTuple):
    """A seal to be appended. Hashes have 32 bytes.

    Attributes:
        previous: The hash of the shard's preceding seal.
    """

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    root: bytes
    hash: bytes


@dataclass(frozen=True, slots=True)
class RecordedSeal:
    """A recorded seal; see `NewSeal`."""

    shard: int
    first_seq: int
    last_seq: int
    previous: bytes
    root: bytes
    hash: bytes
    sealed_at: datetime


@dataclass(frozen=True, slots=True)
class SealedEntry:
    """An entry with its seal.

    Attributes:
        seal: The seal; None if the entry is not sealed yet.
        leaves: The leaf hashes of all entries of the seal, in order; empty if the entry is not sealed yet.
    """

    entry: Entry
    seal: RecordedSeal | None
    leaves: list[bytes]


@dataclass(frozen=True, slots=True)
class SealTotals:
    """The progress of sealing.

    Attributes:
        entries: The number of sealed entries.
        seconds_behind: The age of the oldest unsealed entry; 0 if all are sealed.
    """

    entries: int
    seconds_behind: float


class SealStore:
    """Reads and appends seals over a pool of connections. Each call except `read_unsealed` is one statement."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool
        self._identity: str | None = None
        """The identity of the log at the last call of `read_unsealed` (`saldo.store.log.Log.read_identity`)."""

    async def find_unsealed_shards(self) -> dict[int, LastSeal]:
        """Return the last seal of each shard that has unsealed entries, by shard.

        Raises:
            StoreError: The database can't be read.
        """
        rows = await fetch(self._pool, "seals/unsealed_shards")
        return {
            shard: LastSeal(seq, last or FIRST_PREVIOUS, waited)
            for shard, seq, last, waited in rows
        }

    async def read_unsealed(self) -> dict[int, list[bytes]]:
        """Return the encodings (`encode_entry`) of unsealed entries by shard, in the order of each shard.

        The result has at most one seal's entries for each shard, and about `ENTRIES_MAX` entries in all, from the
        shards that have waited longest.

        Raises:
            StoreError: The database can't be read.
        """
        parts: list[bytes] = []

        async def take(part: bytes) -> None:
            parts.append(part)

        try:
            async with acquire(self._pool) as connection:
                self._identity = await connection.fetchval(load_statement("log/identity"))
                await connection.copy_from_query(
                    load_statement("seals/unsealed_entries", distributed=connection.distributed),
                    output=take,
                    format="binary",
                )
        except Exception as error:
            raise translate_error(error) from error
        return split_by_shard(b"".join(parts))

    async def append(self, seals: Sequence[NewSeal]) -> int:
        """Append seals, at most one for each shard, and return the number of appended seals.

        A seal that does not follow its shard's last seal is left out, because another sealer was faster. All seals are
        left out if the database has failed over since `read_unsealed` was called, because it may have other entries
        then.

        Raises:
            StoreError: It is unknown whether the seals were appended.
        """
        columns = zip(*seals, strict=True)
        return len(await fetch(self._pool, "seals/append", *columns, self._identity))

    async def read_totals(self) -> SealTotals:
        """Return the progress of sealing.

        Raises:
            StoreError: The database can't be queried.
        """
        ((entries, seconds_behind),) = await fetch(self._pool, "seals/totals")
        return SealTotals(entries, seconds_behind)

    async def list_last_seals(self) -> list[RecordedSeal]:
        """Return the last seal of each shard that has one.

        Raises:
            StoreError: The database can't be queried.
        """
        return [_build_seal(*row) for row in await fetch(self._pool, "seals/last_of_each_shard")]

    async def list_page(self, shard: int, after: int, limit: int) -> list[RecordedSeal]:
        """Return a page of a shard's seals that begin after a `seq`, in order.

        Raises:
            StoreError: The database can't be queried.
        """
        return [
            _build_seal(*row) for row in await fetch(self._pool, "seals/page", shard, after, limit)
        ]

    async def find_entry(self, uuid: UUID) -> SealedEntry | None:
        """Return the entry with a uuid, and its seal; None if there is no such entry.

        This reads at most `SEAL_ENTRIES_MAX` entries.

        Raises:
            StoreError: The database can't be queried.
        """
        rows = await fetch(self._pool, "seals/proof", uuid)
        if not rows:
            return None
        shard, seq, user_id, number, found, kind, outcome, *values = list(rows[0])[:12]
        entry = Entry(shard, seq, user_id, number, found, Kind(kind), Outcome(outcome), *values)
        first_seq, *others, leaves = list(rows[0])[12:]
        seal = None if first_seq is None else _build_seal(shard, first_seq, *others)
        return SealedEntry(entry, seal, leaves)


def split_by_shard(copied_rows: bytes) -> dict[int, list[bytes]]:
    """Split the output of a binary COPY of `ENTRY_COLUMNS`, ordered by shard, into entries.

    Raises:
        RejectedError: The output has another format.
    """
    length = len(copied_rows) - len(_HEADER) - len(_TRAILER)
    if (
        not copied_rows.startswith(_HEADER)
        or not copied_rows.endswith(_TRAILER)
        or length % ENTRY_BYTES
    ):
        raise RejectedError("the copied entries have an unexpected format")
    starts = range(len(_HEADER), len(_HEADER) + length, ENTRY_BYTES)
    entries = [copied_rows[start : start + ENTRY_BYTES] for start in starts]
    found, begin = {}, 0
    while begin < len(entries):
        shard = _read_shard(entries[begin])
        end = bisect_right(entries, shard, begin, key=_read_shard)
        found[shard] = entries[begin:end]
        begin = end
    return found


def _read_shard(entry: bytes) -> int:
    return int.from_bytes(entry[_SHARD], "big")


def _build_seal(
    shard: int,
    first_seq: int,
    last_seq: int,
    previous: bytes | None,
    root: bytes,
    hash_: bytes,
    sealed_at: datetime,
) -> RecordedSeal:
    return RecordedSeal(
        shard, first_seq, last_seq, previous or FIRST_PREVIOUS, root, hash_, sealed_at
    )
