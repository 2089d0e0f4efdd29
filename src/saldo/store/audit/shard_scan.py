"""Scans of the log for the audit, which read each shard in steps and check the rules of `saldo.ledger.audit.rules`.

A scan takes no lock and holds no snapshot. It reads the end of a shard once, and the entries before the end never
change. The limits in `saldo.ledger.audit.rules` bound the memory of a scan, however large the ledger is.
"""

from __future__ import annotations

import struct
from collections.abc import AsyncIterator, Sequence
from typing import Any, Final
from uuid import UUID

from saldo.ledger.audit.balance_timeline import BalanceTimeline
from saldo.ledger.audit.rules import (
    LATE_CHECK_ENTRIES_MAX,
    NO_ENTRY,
    AuditPosition,
    InvalidEntriesError,
    LateWithdrawals,
    LedgerFault,
    RawEntry,
    Rule,
    ShardAudit,
    ShardCounts,
    UserState,
    build_entry_fault,
    parse_raw_entries,
)
from saldo.ledger.audit.seal_chain import SealChain, SealRow
from saldo.ledger.model import compute_shard
from saldo.store.connections.connection import acquire, fetch
from saldo.store.errors import RejectedError, translate_error
from saldo.store.statements import load_statement

SEALS_PER_READ: Final = 256
"""Maximum number of seals in one read. A seal has about a hundred bytes."""

TIMELINE_AHEAD: Final = 10_000
"""Number of a user's later entries whose instants are added to a timeline, so that it can be used for longer."""

UUIDS_PER_SHARD: Final = 1000
"""Number of transactions of shard 0 in one range of uuids. Every other shard has about the same number in that
range."""

UUID_MAX: Final = UUID(int=2**128 - 1)

USERS_PER_READ: Final = 5000
"""Maximum number of users checked by one query, which takes some milliseconds."""

_COPY_HEADER_BYTES: Final = 19
_COPY_TRAILER_BYTES: Final = 2
_INSTANTS: Final = struct.Struct(">2x" + "4xq" * 3)


class AuditReader:
    """The reads of the audit, over a pool of connections."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    async def read_shard_state(self, shard: int) -> tuple[int, int, int | None, int, ShardCounts]:
        """Return the ends of a shard, its totals, and the lateness bound.

        Returns:
            The `seq` of the last entry; the `seq` of the last sealed entry; the lateness bound in microseconds, or
            None; the `seq` of the last counted entry; the counts up to that entry.

        Raises:
            StoreError: The database can't be read.
        """
        rows = await fetch(self._pool, "audit_scan/ends_of_shard", shard)
        if not rows:
            raise RejectedError(f"saldo.totals has no row for shard {shard}")
        head, sealed, bound, seq, users, posted, refused, balance = rows[0]
        return head, sealed, bound, seq, ShardCounts(users, posted, refused, int(balance))

    async def copy_entries(self, shard: int, after: int, until: int) -> bytes:
        """Return the entries of a shard with `after` < `seq` <= `until`, as concatenated bytes."""
        return await self._copy_rows("audit_scan/entries", shard=shard, after=after, until=until)

    async def find_last_entries_before(self, numbers: dict[int, int]) -> dict[int, UserState]:
        """Return the state of each user after the last entry with a number below the given one. Users without such an
        entry are left out.

        Args:
            numbers: The numbers by user id.
        """
        rows = await fetch(
            self._pool, "audit_scan/previous_entries", [*numbers], [*numbers.values()]
        )
        return {user_id: UserState(*state) for user_id, *state in rows}

    async def list_seals(self, shard: int, after: int) -> list[SealRow]:
        """Return up to `SEALS_PER_READ` seals of a shard, in order, that begin after a `seq`."""
        rows = await fetch(self._pool, "audit_scan/seals_after", shard, after, SEALS_PER_READ)
        return [SealRow(*row) for row in rows]

    async def find_seals(self, seals: Sequence[tuple[int, int]]) -> dict[tuple[int, int], SealRow]:
        """Return the seals with the given pairs of shard and first `seq`, by that pair."""
        columns = [[each[0] for each in seals], [each[1] for each in seals]]
        found_seals = [
            SealRow(*row) for row in await fetch(self._pool, "audit_scan/seals_at", *columns)
        ]
        return {(seal.shard, seal.first_seq): seal for seal in found_seals}

    async def build_timeline(self, withdrawals: LateWithdrawals) -> BalanceTimeline | None:
        """Return a user's balance over time from an instant on, as it was before a certain entry.

        Args:
            withdrawals: The user, the entry, and the instant from which the balance is needed.

        Returns:
            The timeline; None if more than `LATE_CHECK_ENTRIES_MAX` entries would have to be read.
        """
        user_id, number, last_number, since = withdrawals
        # The check of an entry reads at most LATE_CHECK_ENTRIES_MAX entries before that entry. The base is the entry
        # before these.
        back = LATE_CHECK_ENTRIES_MAX + 1
        rows = await fetch(
            self._pool, "audit_scan/last_entry_by_horizon", user_id, number, since, back
        )
        if not rows and number > back:
            return None
        # If no entry precedes, the timeline begins with the user's first entry.
        base_number, base_balance = rows[0] if rows else (-1, 0)
        through = last_number + TIMELINE_AHEAD
        data = await self._copy_rows(
            "audit_scan/posted_transactions", user_id=user_id, after=base_number, until=through
        )
        posted = [*_INSTANTS.iter_unpack(data)]
        timeline = BalanceTimeline(since, through, [instant for _, _, instant in posted])
        timeline.add_amounts(
            [
                (since, base_balance),
                *((instant, amount) for each, amount, instant in posted if each < number),
            ]
        )
        return timeline

    async def find_unknown_users(self, users: Sequence[int]) -> set[int]:
        """Return the user ids that do not exist."""
        return {
            user_id for (user_id,) in await fetch(self._pool, "audit_scan/unknown_users", users)
        }

    async def find_users_without_opening_entry(self, after_id: int) -> tuple[int | None, list[int]]:
        """Check whether the next users, up to `USERS_PER_READ`, have opening entries. The users have ids above
        `after_id`.

        Returns:
            The last id that was checked, or None if no more users follow; and the ids of the checked users without an
            opening entry.
        """
        ((last, looked_at, unopened),) = await fetch(
            self._pool, "audit_scan/users_without_opening_entry", after_id, USERS_PER_READ
        )
        return last if looked_at == USERS_PER_READ else None, list(unopened)

    async def find_duplicate_uuids(self, after: UUID) -> tuple[UUID | None, list[LedgerFault]]:
        """Check the next range of uuids for duplicates.

        Returns:
            The last uuid of the range, or None if it was the last range; and a fault for each transaction whose uuid
            another transaction has, too.
        """
        rows = await fetch(self._pool, "audit_scan/next_uuid_range", after, 0, UUIDS_PER_SHARD)
        last: UUID | None = rows[0][0] if rows else None
        faults = await fetch(self._pool, "audit_scan/duplicate_uuids", after, last or UUID_MAX)
        return last, [
            LedgerFault(
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
            for shard, seq, uuid, user_id, number in faults
        ]

    async def _copy_rows(self, name: str, **integers: int) -> bytes:
        """Run a query as a binary COPY and return its tuples without header and trailer.

        Args:
            name: The statement.
            integers: The values of its placeholders in braces.
        """
        data = bytearray()

        async def take(chunk: bytes) -> None:
            data.extend(chunk)

        try:
            async with acquire(self._pool) as connection:
                text = load_statement(name, distributed=connection.distributed)
                query = text.format(**{key: int(each) for key, each in integers.items()})
                await connection.copy_from_query(query, output=take, format="binary")
        except Exception as error:
            raise translate_error(error) from error
        return bytes(data[_COPY_HEADER_BYTES:-_COPY_TRAILER_BYTES])


class ShardScan:
    """The audit of one shard, from a position to the end that the shard had when `start` was called."""

    def __init__(self, reader: AuditReader, position: AuditPosition) -> None:
        self._reader = reader
        self._shard = position.shard
        self._position = position
        self._chain = SealChain(self._shard, position.sealed_seq, position.sealed_hash)
        self._seals: list[SealRow] = []
        self.head = 0

    async def start(self) -> list[LedgerFault]:
        """Read where the shard ends. If the audited position, the last seal or the totals lie beyond the end, return a
        fault for each of them.

        Raises:
            StoreError: The database can't be read.
        """
        position = self._position
        self.head, sealed, bound, counted, counts = await self._reader.read_shard_state(self._shard)
        self._shard_audit = ShardAudit(position, (counted, counts), bound)
        # Entries that were checked before, but sealed later, are read again. Only their seals are checked then.
        self._read_seq = position.sealed_seq if sealed > position.sealed_seq else position.seq
        self._sealed = min(sealed, self.head)
        known = {
            "an entry that was audited before": position.seq,
            "a seal": max(sealed, position.sealed_seq),
            "an entry that was counted": counted,
        }
        return [
            LedgerFault(
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
    def is_done(self) -> bool:
        """True if all entries have been checked."""
        return self._read_seq >= self.head

    @property
    def position(self) -> AuditPosition:
        """The position from which another audit can continue."""
        return AuditPosition(
            self._shard,
            self._shard_audit.seq,
            self._shard_audit.recorded_at,
            self._chain.sealed_seq,
            self._chain.sealed_hash,
            self._shard_audit.counts,
        )

    async def step(self, entries_max: int) -> list[LedgerFault]:
        """Check up to `entries_max` further entries, and the seals whose last entry is among them.

        Returns:
            The faults, in the order of the log.

        Raises:
            StoreError: The database can't be read.
        """
        until = min(self._read_seq + entries_max, self.head)
        data = await self._reader.copy_entries(self._shard, self._read_seq, until)
        try:
            entries = parse_raw_entries(data)
        except InvalidEntriesError as error:
            raise RejectedError(f"shard {self._shard} after {self._read_seq}: {error}") from error
        if self._read_seq < self._sealed:
            self._chain.add_entries(
                [entry.seq for entry in entries if entry.seq <= self._sealed], data
            )
        faults = await self._check_rules(
            [entry for entry in entries if entry.seq > self._shard_audit.seq]
        )
        self._read_seq = until
        if self.is_done and self._shard_audit.seq < self.head:
            faults.append(self._build_missing_tail_fault())
        faults += await self._check_seals(until)
        # If an entry breaks a rule, the fault of its seal comes after the fault of the entry, which is more
        # informative.
        return sorted(faults, key=lambda fault: fault.last_seq)

    async def _check_rules(self, entries: list[RawEntry]) -> list[LedgerFault]:
        audit, reader = self._shard_audit, self._reader
        users_without_state = audit.find_users_without_state(entries)
        if users_without_state:
            before = await reader.find_last_entries_before(users_without_state)
            for user_id in users_without_state:
                audit.set_user_state(user_id, before.get(user_id, NO_ENTRY))
        for wanted in audit.find_late_withdrawals(entries):
            timeline = await reader.build_timeline(wanted)
            if timeline is None:
                audit.skip_late_checks(wanted.user_id, wanted.since)
            else:
                audit.set_timeline(wanted.user_id, timeline)
        faults = [*audit.check_entries(entries)]
        opened = {entry.user_id: entry for entry in entries if entry.number == 0}
        missing_users = await reader.find_unknown_users([*opened]) if opened else ()
        return faults + [
            build_entry_fault(opened[user_id], self._shard, Rule.USER, "no such user", "the user")
            for user_id in missing_users
        ]

    def _build_missing_tail_fault(self) -> LedgerFault:
        """Return the fault for entries that disappeared from the end of the shard during the audit."""
        after = self._shard_audit.seq
        found = f"nothing after {after}"
        return LedgerFault(Rule.SEQ, self._shard, after + 1, self.head, found, f"seq {after + 1}")

    async def _check_seals(self, until: int) -> list[LedgerFault]:
        """Check the seals whose entries have all been read, up to and including a `seq`."""
        faults = []
        while self._chain.sealed_seq < self._sealed:
            if not self._seals:
                self._seals = await self._reader.list_seals(self._shard, self._chain.sealed_seq)
                if not self._seals:
                    break
            if self._seals[0].last_seq > until:
                break
            fault = self._chain.check_seal(self._seals.pop(0))
            if fault is not None:
                faults.append(fault)
        return faults


async def find_users_without_entries(reader: AuditReader) -> AsyncIterator[list[LedgerFault]]:
    """Yield the faults of users without an opening entry, a page of users at a time.

    Raises:
        StoreError: The database can't be read.
    """
    after_id: int | None = 0
    while after_id is not None:
        after_id, unopened = await reader.find_users_without_opening_entry(after_id)
        yield [
            LedgerFault(
                Rule.USER,
                compute_shard(user_id),
                0,
                0,
                "no opening entry",
                "one",
                user_id=user_id,
                number=0,
            )
            for user_id in unopened
        ]


async def find_duplicate_uuids(reader: AuditReader) -> AsyncIterator[list[LedgerFault]]:
    """Yield the faults of transactions whose uuid another transaction has, too, a range of uuids at a time.

    Raises:
        StoreError: The database can't be read.
    """
    after: UUID | None = UUID(int=0)
    while after is not None:
        after, faults = await reader.find_duplicate_uuids(after)
        yield faults
