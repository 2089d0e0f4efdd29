"""The way of an audit through the log: reads each shard in steps, and lets the rules of `saldo.ledger.audit` judge.

No lock, and no snapshot that is held: where a shard ends is asked once, and what is before that never changes. Memory
is bounded by the named limits of the rules, whatever the size of the ledger.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from saldo.ledger.audit import (
    LATE_CHECK_ENTRIES_MAX,
    NO_ENTRY,
    BadEntriesError,
    Counts,
    Fault,
    LateWithdrawals,
    Position,
    RawEntry,
    Rule,
    ShardAudit,
    UserState,
    fault_of,
    raw_entries,
)
from saldo.ledger.chain import Chain, Seal
from saldo.ledger.model import shard_of
from saldo.ledger.timeline import Timeline
from saldo.store.connection import fetch
from saldo.store.errors import RejectedError, translated
from saldo.store.statements import statement

SEALS_PER_READ: Final = 256
"""Each is a hundred bytes."""

TIMELINE_AHEAD: Final = 10_000
"""Entries of a user whose instants are read beyond those at hand: his timeline needn't be made again so soon."""

UUIDS_PER_SHARD: Final = 1000
"""Of one shard between two uuids, of all the others about as many: looked at together."""

UUID_MAX: Final = UUID(int=2**128 - 1)

USERS_PER_READ: Final = 5000
"""Looked at together: some milliseconds."""

_COPY_HEADER_BYTES: Final = 19
_COPY_TRAILER_BYTES: Final = 2
_INSTANTS: Final = struct.Struct(">2x" + "4xq" * 3)


class LogReader:
    """Reads what an audit needs, over a pool of connections."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def head(self, shard: int) -> tuple[int, int, int, Counts]:
        """Where the shard ends, where its last seal ends, how far it was counted, and what was."""
        rows = await fetch(self._pool, "walk_head", shard)
        if not rows:
            raise RejectedError(f"saldo.totals has no row of shard {shard}")
        head, sealed, seq, users, posted, refused, balance = rows[0]
        return head, sealed, seq, Counts(users, posted, refused, int(balance))

    async def entries(self, shard: int, after: int, until: int) -> bytes:
        """The bytes of the shard's entries from `after` (not it) to `until`, one after another."""
        return await self._copied("walk_entries", shard=shard, after=after, until=until)

    async def before(self, numbers: dict[int, int]) -> dict[int, UserState]:
        """By user, his last entry with a smaller number than this; without those who have none."""
        rows = await fetch(self._pool, "walk_before", [*numbers], [*numbers.values()])
        return {user_id: UserState(*state) for user_id, *state in rows}

    async def seals(self, shard: int, after: int) -> list[Seal]:
        """Some seals of the shard that begin after this, in their order."""
        rows = await fetch(self._pool, "walk_seals", shard, after, SEALS_PER_READ)
        return [Seal(*row) for row in rows]

    async def kept(self, seals: Sequence[tuple[int, int]]) -> dict[tuple[int, int], Seal]:
        """By shard and first position, the seals that begin there."""
        columns = [[each[0] for each in seals], [each[1] for each in seals]]
        found = [Seal(*row) for row in await fetch(self._pool, "walk_kept", *columns)]
        return {(seal.shard, seal.first_seq): seal for seal in found}

    async def timeline(self, wanted: LateWithdrawals) -> Timeline | None:
        """The user's balance at every instant before an entry; None: that is too far back."""
        user_id, number, last_number, since = wanted
        rows = await fetch(self._pool, "walk_base", user_id, number, since, LATE_CHECK_ENTRIES_MAX)
        if not rows and number > LATE_CHECK_ENTRIES_MAX:
            return None
        # Without any entry before: the user's first ones are at hand.
        base_number, base_balance = rows[0] if rows else (-1, 0)
        through = last_number + TIMELINE_AHEAD
        data = await self._copied(
            "walk_timeline", user_id=user_id, after=base_number, until=through
        )
        posted = [*_INSTANTS.iter_unpack(data)]
        timeline = Timeline(since, through, [instant for _, _, instant in posted])
        timeline.fill(
            [
                (since, base_balance),
                *((instant, amount) for each, amount, instant in posted if each < number),
            ]
        )
        return timeline

    async def strangers(self, users: Sequence[int]) -> set[int]:
        """Those of these users that there are not."""
        return {user_id for (user_id,) in await fetch(self._pool, "walk_strangers", users)}

    async def unopened(self, after_id: int) -> tuple[int | None, list[int]]:
        """Of some users after this one: the last of them, if there may be more, and who has no opening entry."""
        ((last, looked_at, unopened),) = await fetch(
            self._pool, "walk_unopened", after_id, USERS_PER_READ
        )
        return last if looked_at == USERS_PER_READ else None, list(unopened)

    async def twice(self, after: UUID) -> tuple[UUID | None, list[Fault]]:
        """Of some uuids after this one: the last of them, if there may be more, and who has that of another."""
        rows = await fetch(self._pool, "walk_slice", after, 0, UUIDS_PER_SHARD)
        last: UUID | None = rows[0][0] if rows else None
        found = await fetch(self._pool, "walk_twice", after, last or UUID_MAX)
        return last, [
            Fault(
                Rule.UUID,
                shard,
                seq,
                seq,
                "a uuid that another transaction has",
                "one of its own",
                uuid,
                user_id,
                number,
            )
            for shard, seq, uuid, user_id, number in found
        ]

    async def _copied(self, name: str, **integers: int) -> bytes:
        """The tuples of a binary COPY, without its header and trailer."""
        data = bytearray()

        async def take(chunk: bytes) -> None:
            data.extend(chunk)

        try:
            async with self._pool.acquire() as connection:
                text = statement(name, distributed=connection.distributed)
                query = text.format(**{key: int(each) for key, each in integers.items()})
                await connection.copy_from_query(query, output=take, format="binary")
        except Exception as error:
            raise translated(error) from error
        return bytes(data[_COPY_HEADER_BYTES:-_COPY_TRAILER_BYTES])


class ShardWalk:
    """The audit of one shard, from a position to where the shard ended when it began."""

    def __init__(self, reader: LogReader, position: Position) -> None:
        self._reader = reader
        self._shard = position.shard
        self._position = position
        self._chain = Chain(self._shard, position.sealed_seq, position.sealed_hash)
        self._seals: list[Seal] = []
        self.head = 0

    async def start(self) -> list[Fault]:
        """Asks where the shard ends; what is wrong there.

        Raises:
            StoreError: the database can't be read.
        """
        position = self._position
        self.head, sealed, counted, counts = await self._reader.head(self._shard)
        self._audit = ShardAudit(position, (counted, counts))
        # What has been held against the rules and is under a seal by now is only read again for that.
        self._read_seq = position.sealed_seq if sealed > position.sealed_seq else position.seq
        self._sealed = min(sealed, self.head)
        known = {
            "an entry that was audited before": position.seq,
            "a seal": max(sealed, position.sealed_seq),
            "an entry that was counted": counted,
        }
        return [
            Fault(
                Rule.HEAD,
                self._shard,
                self.head + 1,
                seq,
                f"the log to end at {self.head}",
                f"{what} at {seq}",
            )
            for what, seq in known.items()
            if seq > self.head
        ]

    @property
    def done(self) -> bool:
        """Whether everything has been looked at."""
        return self._read_seq >= self.head

    @property
    def position(self) -> Position:
        """From where another walk can go on."""
        return Position(
            self._shard,
            self._audit.seq,
            self._audit.recorded_at,
            self._chain.sealed_seq,
            self._chain.sealed_hash,
            self._audit.counts,
        )

    async def step(self, entries_max: int) -> list[Fault]:
        """Looks at some more entries, and at the seals that end there.

        Returns:
            What is wrong with them, in the order of the log.

        Raises:
            StoreError: the database can't be read.
        """
        until = min(self._read_seq + entries_max, self.head)
        data = await self._reader.entries(self._shard, self._read_seq, until)
        try:
            entries = raw_entries(data)
        except BadEntriesError as error:
            raise RejectedError(f"shard {self._shard} after {self._read_seq}: {error}") from error
        if self._read_seq < self._sealed:
            self._chain.add([entry.seq for entry in entries if entry.seq <= self._sealed], data)
        faults = await self._ruled([entry for entry in entries if entry.seq > self._audit.seq])
        self._read_seq = until
        if self.done and self._audit.seq < self.head:
            faults.append(self._missing())
        faults += await self._sealed_until(until)
        # A seal that the entries under it contradict comes after the entry that breaks a rule: that says more.
        return sorted(faults, key=lambda fault: fault.last_seq)

    async def _ruled(self, entries: list[RawEntry]) -> list[Fault]:
        audit, reader = self._audit, self._reader
        unknown = audit.unknown_users(entries)
        if unknown:
            before = await reader.before(unknown)
            for user_id in unknown:
                audit.learn(user_id, before.get(user_id, NO_ENTRY))
        for wanted in audit.late_withdrawals(entries):
            timeline = await reader.timeline(wanted)
            if timeline is None:
                audit.too_far(wanted.user_id, wanted.since)
            else:
                audit.follow(wanted.user_id, timeline)
        faults = [*audit.check(entries)]
        opened = {entry.user_id: entry for entry in entries if entry.number == 0}
        strangers = await reader.strangers([*opened]) if opened else ()
        return faults + [
            fault_of(opened[user_id], self._shard, Rule.USER, "no such user", "the user")
            for user_id in strangers
        ]

    def _missing(self) -> Fault:
        """The last entries have gone while they were looked at."""
        after = self._audit.seq
        found = f"nothing after {after}"
        return Fault(Rule.SEQ, self._shard, after + 1, self.head, found, f"seq {after + 1}")

    async def _sealed_until(self, until: int) -> list[Fault]:
        """Checks the seals whose entries have all been read."""
        faults = []
        while self._chain.sealed_seq < self._sealed:
            if not self._seals:
                self._seals = await self._reader.seals(self._shard, self._chain.sealed_seq)
                if not self._seals:
                    break
            if self._seals[0].last_seq > until:
                break
            fault = self._chain.check(self._seals.pop(0))
            if fault is not None:
                faults.append(fault)
        return faults


async def users_without_entries(reader: LogReader) -> AsyncIterator[list[Fault]]:
    """The users that have no opening entry, some users at a time.

    Raises:
        StoreError: the database can't be read.
    """
    after_id: int | None = 0
    while after_id is not None:
        after_id, unopened = await reader.unopened(after_id)
        yield [
            Fault(
                Rule.USER,
                shard_of(user_id),
                0,
                0,
                "no opening entry",
                "one",
                user_id=user_id,
                number=0,
            )
            for user_id in unopened
        ]


async def uuids_of_several(reader: LogReader) -> AsyncIterator[list[Fault]]:
    """The transactions whose uuid another one has, some uuids at a time.

    Raises:
        StoreError: the database can't be read.
    """
    after: UUID | None = UUID(int=0)
    while after is not None:
        after, faults = await reader.twice(after)
        yield faults
