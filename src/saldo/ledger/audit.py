"""The rules of an audit: whether the entries of a shard, in the order of `seq`, can be what the ledger has recorded.

Every entry is held against what it follows from: the entry before it in the shard, the user's entry before, and, where
a withdrawal was late, the user's balance at every instant. What is wrong is a `Fault`, which names the entry, what was
found and what was expected. After a fault the audit goes on with what it found: one altered entry is one fault.

Pure: who reads the log gives what is asked for (`unknown_users`, `late_withdrawals`) before he lets entries be checked.
An entry is read as integers, times as microseconds since 2000-01-01 UTC: a ledger is a long read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from saldo.ledger.model import Kind, Outcome, shard_of
from saldo.ledger.money import AMOUNT_MAX, BALANCE_MAX
from saldo.ledger.seal import ENTRY_BYTES, ENTRY_COLUMNS, FIRST_PREVIOUS
from saldo.ledger.time import FUTURE_TOLERANCE_MAX, format_instant
from saldo.ledger.timeline import Timeline, UnknownInstantError

BEFORE_ALL_TIME: Final = -(2**63)
"""PostgreSQL's -infinity: the timestamp and the horizon of an opening entry."""

USERS_MAX: Final = 100_000
"""Users whose last entry is remembered: beyond, all are forgotten and asked for again."""

INSTANTS_MAX: Final = 2_000_000
"""Of all timelines that are kept, each some 100 bytes: beyond, all are forgotten and asked for again."""

LATE_CHECK_ENTRIES_MAX: Final = 1_000_000
"""The greatest `late_check_entries_max` that can be set: no withdrawal was posted whose check had to read more."""

_FUTURE_MAX: Final = FUTURE_TOLERANCE_MAX // timedelta(microseconds=1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ENTRY: Final = struct.Struct(">2x" + "4xq" * 8 + "4x16s" + "4xh" * 3)
_COLUMNS: Final = len(ENTRY_COLUMNS).to_bytes(2, "big")


class Rule(StrEnum):
    """What a fault is against. The values are stable: they are stored, and shown by metrics and in logs."""

    SEQ = "seq"  # 1, 2, 3 … in a shard
    SHARD = "shard"  # that of the user
    NUMBER = "number"  # 0, 1, 2, 3 … of a user
    ORDER = "order"  # numbers rise along seq
    KIND = "kind"
    AMOUNT = "amount"  # of the kind's sign, and within bounds
    OUTCOME = "outcome"  # one that an entry of the kind may have
    BALANCE = "balance"  # the one before and, if posted, the amount
    LIMIT = "limit"  # balances from 0 to the maximum
    TIMESTAMP = "timestamp"  # not further ahead of its recording than any setting allows
    HORIZON = "horizon"  # the greatest timestamp posted so far
    RECORDED_AT = "recorded_at"  # never falls along seq
    REFUSAL = "refusal"  # there was too little indeed
    INSTANT = "instant"  # no negative balance at any instant of the past
    SEAL = "seal"  # its hash covers itself and the seal before
    CHAIN = "chain"  # seals follow each other without a gap
    ROOT = "root"  # of the tree over the entries as they are
    HEAD = "head"  # nothing that was there is missing at the end
    TOTALS = "totals"  # what was counted along the log is what is in it
    USER = "user"  # every entry has a user, every user an opening entry
    UUID = "uuid"  # stands for one transaction in the whole ledger


class Fault(NamedTuple):
    """Something that can't be in a ledger that is whole.

    Attributes:
        seq: of the entry; of the first one that a seal stands for. 0: no entry is there.
        last_seq: of the last one that the seal stands for; else that of the entry.
        found, expected: in words; amounts in minor units.
        uuid, user_id, number: of the entry; None: it is not there, or not known which one it is.
    """

    rule: Rule
    shard: int
    seq: int
    last_seq: int
    found: str
    expected: str
    uuid: UUID | None = None
    user_id: int | None = None
    number: int | None = None

    @property
    def place(self) -> str:
        """Where it is, and whose: nothing that a log may not say."""
        until = f" to {self.last_seq}" if self.last_seq != self.seq else ""
        parts = [f"shard {self.shard}", f"seq {self.seq}{until}"]
        if self.uuid is not None:
            parts.append(f"uuid {self.uuid}")
        if self.user_id is not None:
            parts.append(f"user {self.user_id}")
        if self.number is not None:
            parts.append(f"number {self.number}")
        return ", ".join(parts)

    def __str__(self) -> str:
        return f"{self.place}: {self.rule}: found {self.found}, expected {self.expected}"


class RawEntry(NamedTuple):
    """An entry as it is read for an audit; see `saldo.ledger.model.Entry`. Times: microseconds since 2000-01-01 UTC."""

    seq: int
    user_id: int
    number: int
    amount: int
    balance: int
    timestamp: int
    horizon: int
    recorded_at: int
    uuid: bytes
    shard: int
    kind: int
    outcome: int


class UserState(NamedTuple):
    """What a user's next entry follows from: his last one so far.

    Attributes:
        seq: 0: there is none yet, and number is -1.
    """

    seq: int
    number: int
    balance: int
    horizon: int


NO_ENTRY: Final = UserState(0, -1, 0, BEFORE_ALL_TIME)


class Counts(NamedTuple):
    """What has been counted of a shard up to a position. balance: the sum of what was posted, minor units."""

    users: int = 0
    posted: int = 0
    refused: int = 0
    balance: int = 0


class Position(NamedTuple):
    """How far the audit of a shard is, and all that it needs to go on from there.

    Attributes:
        seq: of the last entry held against the rules; 0: none.
        recorded_at: that entry's.
        sealed_seq: where the last seal that was checked ends; 0: none was.
        sealed_hash: that seal's.
        counts: up to seq.
    """

    shard: int
    seq: int = 0
    recorded_at: int = BEFORE_ALL_TIME
    sealed_seq: int = 0
    sealed_hash: bytes = FIRST_PREVIOUS
    counts: Counts = Counts()


class LateWithdrawals(NamedTuple):
    """For which user a timeline is needed.

    Attributes:
        number: of the first entry that is not to be in it yet.
        last_number: of the last one whose instant must be known to it.
        since: the earliest instant that it must tell of.
    """

    user_id: int
    number: int
    last_number: int
    since: int


class BadEntriesError(ValueError):
    """Bytes that are no entries: a column is missing, or without a value."""


def raw_entries(data: bytes) -> list[RawEntry]:
    """The entries in such bytes as `saldo.ledger.seal.entry_bytes` makes, one after another.

    Raises:
        BadEntriesError: they aren't.
    """
    entries, rest = divmod(len(data), ENTRY_BYTES)
    if rest or data[::ENTRY_BYTES] + data[1::ENTRY_BYTES] != (
        _COLUMNS[:1] * entries + _COLUMNS[1:] * entries
    ):
        raise BadEntriesError(f"{len(data)} bytes are no entries of {ENTRY_BYTES} bytes each")
    return [*map(RawEntry._make, _ENTRY.iter_unpack(data))]


def written_instant(microseconds: int) -> str:
    """For people: RFC 3339, where that is possible."""
    try:
        return format_instant(_EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:
        return "-infinity" if microseconds < 0 else "infinity"


class ShardAudit:
    """Holds the entries of one shard against the rules, in the order of `seq`."""

    def __init__(self, position: Position, counted: tuple[int, Counts] = (0, Counts())) -> None:
        """
        Args:
            position: where it goes on.
            counted: what somebody else has counted, and up to which `seq`.
        """
        self._shard = position.shard
        self.seq = position.seq
        self.recorded_at = position.recorded_at
        self._users_opened, self._posted, self._refused, self._balance = position.counts
        self._counted_seq, self._counted = counted
        self._users: dict[int, UserState] = {}
        self._timelines: dict[int, Timeline] = {}
        self._too_far: dict[int, int] = {}

    @property
    def counts(self) -> Counts:
        """What was counted up to `seq`."""
        return Counts(self._users_opened, self._posted, self._refused, self._balance)

    def unknown_users(self, entries: Sequence[RawEntry]) -> dict[int, int]:
        """Of which users `learn` must tell before these entries can be checked; each with his first number here."""
        if len(self._users) > USERS_MAX:
            self._users.clear()
        first: dict[int, int] = {}
        for entry in entries:
            if entry.user_id not in self._users:
                first.setdefault(entry.user_id, entry.number)
        return {user_id: number for user_id, number in first.items() if number > 0}

    def learn(self, user_id: int, last: UserState) -> None:
        """The user's last entry with a smaller number than his first one to come; `NO_ENTRY`: there is none."""
        self._users[user_id] = last

    def late_withdrawals(self, entries: Sequence[RawEntry]) -> list[LateWithdrawals]:
        """Which timelines must be given (`follow`) before these entries can be checked."""
        needed: dict[int, int] = {}
        first: dict[int, int] = {}
        last: dict[int, int] = {}
        for entry in entries:
            user_id = entry.user_id
            first.setdefault(user_id, entry.number)
            last[user_id] = entry.number
            if entry.timestamp < entry.horizon and entry.amount < 0 and entry.outcome == 0:
                needed[user_id] = min(needed.get(user_id, entry.timestamp), entry.timestamp)
        for user_id in [each for each in self._timelines if each in last]:
            timeline = self._timelines[user_id]
            if (
                timeline.through < last[user_id]
                or needed.get(user_id, timeline.since) < timeline.since
            ):
                del self._timelines[user_id]
        if sum(map(len, self._timelines.values())) > INSTANTS_MAX:
            self._timelines.clear()
        return [
            LateWithdrawals(user_id, first[user_id], last[user_id], since)
            for user_id, since in needed.items()
            if user_id not in self._timelines
        ]

    def follow(self, user_id: int, timeline: Timeline) -> None:
        """The user's balance at every instant, as it was before his first entry to come."""
        self._timelines[user_id] = timeline

    def too_far(self, user_id: int, since: int) -> None:
        """There is no such timeline: more than `LATE_CHECK_ENTRIES_MAX` entries lie between."""
        self._too_far[user_id] = since

    def check(self, entries: Iterable[RawEntry]) -> Iterator[Fault]:
        """Holds entries against the rules, and remembers them.

        Yields:
            For each entry that breaks one the first that it breaks, in the order of `Rule`.
        """
        for entry in entries:
            if entry.seq != self.seq + 1:
                yield self._gap(entry.seq)
            before = self._users.get(entry.user_id, NO_ENTRY)
            below_zero = self._below_zero(entry)
            broken = self._broken(entry, before) or below_zero
            if broken is not None:
                yield fault_of(entry, self._shard, *broken)
            self.seq = entry.seq
            self.recorded_at = entry.recorded_at
            self._users[entry.user_id] = UserState(
                entry.seq, entry.number, entry.balance, entry.horizon
            )
            self._count(entry)
            if entry.seq == self._counted_seq and self._counted != self.counts:
                yield self._miscounted()

    def _gap(self, seq: int) -> Fault:
        expected = self.seq + 1
        if seq <= self.seq:
            return Fault(Rule.SEQ, self._shard, seq, seq, f"seq {seq} again", f"seq {expected}")
        return Fault(Rule.SEQ, self._shard, expected, seq - 1, f"seq {seq} next", f"seq {expected}")

    def _broken(self, entry: RawEntry, before: UserState) -> tuple[Rule, object, object] | None:
        """The first rule that it breaks by itself, or as what follows from the entries before; found and expected."""
        if entry.shard != self._shard or shard_of(entry.user_id) != self._shard:
            return Rule.SHARD, f"{entry.shard} for user {entry.user_id}", self._shard
        if entry.number != before.number + 1:
            return Rule.NUMBER, entry.number, before.number + 1
        if entry.seq <= before.seq:
            return (
                Rule.ORDER,
                f"number {before.number} later, at seq {before.seq}",
                "the user's numbers to rise along seq",
            )
        posted = entry.outcome == 0
        if entry.kind == 0 or entry.number == 0:
            if (broken := _broken_opening(entry)) is not None:
                return broken
        elif (broken := _broken_request(entry)) is not None:
            return broken
        balance = before.balance + entry.amount if posted else before.balance
        if entry.balance != balance:
            return Rule.BALANCE, entry.balance, balance
        if not 0 <= balance <= BALANCE_MAX:
            return Rule.LIMIT, balance, f"a balance from 0 to {BALANCE_MAX}"
        horizon = before.horizon
        if posted and entry.timestamp > horizon:
            horizon = entry.timestamp
        if entry.horizon != horizon:
            return Rule.HORIZON, written_instant(entry.horizon), written_instant(horizon)
        if entry.recorded_at < self.recorded_at:
            return (
                Rule.RECORDED_AT,
                written_instant(entry.recorded_at),
                f"not before {written_instant(self.recorded_at)}",
            )
        # In order: what is late may be refused for a moment of the past.
        if entry.outcome == 1 and entry.timestamp >= horizon and balance + entry.amount >= 0:
            return Rule.REFUSAL, f"refused {-entry.amount} of {balance}", "it to be posted"
        return None

    def _below_zero(self, entry: RawEntry) -> tuple[Rule, object, object] | None:
        if entry.outcome != 0:
            return None
        if self._too_far and self._too_far.get(entry.user_id) == entry.timestamp:
            del self._too_far[entry.user_id]
            return (
                Rule.INSTANT,
                f"a withdrawal at {written_instant(entry.timestamp)}, posted",
                f"no more than {LATE_CHECK_ENTRIES_MAX} entries between that and it",
            )
        timeline = self._timelines.get(entry.user_id)
        if timeline is None:
            return None
        lowest = timeline.lowest
        try:
            timeline.add(entry.timestamp, entry.amount)
        except UnknownInstantError:
            # The log was altered between two looks at it: nothing to hold on to. It is looked at again.
            del self._timelines[entry.user_id]
            return None
        if timeline.lowest >= min(lowest, 0):
            return None
        moment = written_instant(timeline.lowest_at())
        return Rule.INSTANT, f"a balance of {timeline.lowest} at {moment}", "none below 0"

    def _count(self, entry: RawEntry) -> None:
        if entry.outcome != 0:
            self._refused += 1
            return
        if entry.kind == 0:
            self._users_opened += 1
        else:
            self._posted += 1
        self._balance += entry.amount

    def _miscounted(self) -> Fault:
        return Fault(
            Rule.TOTALS,
            self._shard,
            self.seq,
            self.seq,
            _written_counts(self.counts),
            f"{_written_counts(self._counted)}, as in saldo.totals",
        )


def fault_of(entry: RawEntry, shard: int, rule: Rule, found: object, expected: object) -> Fault:
    """A fault of this entry."""
    return Fault(
        rule,
        shard,
        entry.seq,
        entry.seq,
        str(found),
        str(expected),
        UUID(bytes=entry.uuid),
        entry.user_id,
        entry.number,
    )


def _broken_opening(entry: RawEntry) -> tuple[Rule, object, object] | None:
    if entry.kind != Kind.OPENING:
        return Rule.KIND, entry.kind, "an opening entry (0) as number 0"
    if entry.number != 0:
        return Rule.KIND, "an opening entry (0)", "a deposit (1) or a withdrawal (2)"
    if entry.amount != 0:
        return Rule.AMOUNT, entry.amount, 0
    if entry.outcome != Outcome.POSTED:
        return Rule.OUTCOME, entry.outcome, int(Outcome.POSTED)
    if entry.timestamp != BEFORE_ALL_TIME:
        return Rule.TIMESTAMP, written_instant(entry.timestamp), "-infinity"
    return None


def _broken_request(entry: RawEntry) -> tuple[Rule, object, object] | None:
    if entry.kind == Kind.DEPOSIT:
        lowest, highest, refusal = 1, AMOUNT_MAX, Outcome.BALANCE_ABOVE_MAXIMUM
    elif entry.kind == Kind.WITHDRAWAL:
        lowest, highest, refusal = -AMOUNT_MAX, -1, Outcome.INSUFFICIENT_FUNDS
    else:
        return Rule.KIND, entry.kind, "a deposit (1) or a withdrawal (2)"
    if not lowest <= entry.amount <= highest:
        return Rule.AMOUNT, entry.amount, f"{lowest} to {highest}"
    if entry.outcome not in (Outcome.POSTED, refusal):
        return Rule.OUTCOME, entry.outcome, f"posted (0) or {refusal.name.lower()} ({refusal:d})"
    if not BEFORE_ALL_TIME < entry.timestamp <= entry.recorded_at + _FUTURE_MAX:
        return (
            Rule.TIMESTAMP,
            written_instant(entry.timestamp),
            f"at most a day after {written_instant(entry.recorded_at)}",
        )
    return None


def _written_counts(counts: Counts) -> str:
    return (
        f"{counts.users} users, {counts.posted} posted, {counts.refused} refused, "
        f"{counts.balance} in all"
    )
