"""The rules of the audit: they check whether a shard's entries, in the order of `seq`, can come from the ledger.

Every entry is compared with the preceding entry of the shard and with the preceding entry of the user. A late
withdrawal is also checked against the user's balance at every instant. A difference is a `LedgerFault`, which names the
entry, and the found and the expected value. After a fault the audit continues with the found values, so that one
altered entry is reported as one fault.

The module does no I/O: before it checks entries, the reader of the log provides the data that
`find_users_without_state` and `find_late_withdrawals` name. For speed, entries are read as integers, with times as
microseconds since 2000-01-01 UTC.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Final, NamedTuple
from uuid import UUID

from saldo.ledger.audit.balance_timeline import BalanceTimeline, InstantOutsideTimelineError
from saldo.ledger.instants import FUTURE_TOLERANCE_MAX, format_instant
from saldo.ledger.model import Kind, Outcome, compute_shard
from saldo.ledger.money import AMOUNT_MAX, BALANCE_MAX
from saldo.ledger.seals import ENTRY_BYTES, ENTRY_COLUMNS, FIRST_PREVIOUS

BEFORE_ALL_TIME: Final = -(2**63)
"""PostgreSQL's -infinity, which is the timestamp and the horizon of an opening entry."""

USERS_MAX: Final = 100_000
"""Maximum number of users whose last entry is cached. Above this number the cache is cleared, and refilled on
demand."""

INSTANTS_MAX: Final = 2_000_000
"""Maximum number of instants, of some 100 bytes each, in all cached timelines. Above this number all timelines are
dropped, and read again on demand."""

LATE_CHECK_ENTRIES_MAX: Final = 1_000_000
"""Maximum value of the setting `late_check_entries_max`. The check of a posted withdrawal therefore never had to read
more entries."""

_FUTURE_MAX: Final = FUTURE_TOLERANCE_MAX // timedelta(microseconds=1)
_EPOCH: Final = datetime(2000, 1, 1, tzinfo=UTC)
_ENTRY: Final = struct.Struct(">2x" + "4xq" * 8 + "4x16s" + "4xh" * 3)
_COLUMNS: Final = len(ENTRY_COLUMNS).to_bytes(2, "big")


class Rule(StrEnum):
    """A rule of the audit. The values are stable, because they are stored, and occur in metrics and logs."""

    SEQ = "seq"  # 1, 2, 3 … in each shard
    SHARD = "shard"  # the user's shard
    NUMBER = "number"  # 0, 1, 2, 3 … for each user
    ORDER = "order"  # numbers increase along seq
    KIND = "kind"
    AMOUNT = "amount"  # has the sign of its kind, and is within bounds
    OUTCOME = "outcome"  # is possible for the entry's kind
    BALANCE = "balance"  # is the preceding balance, plus the amount if posted
    LIMIT = "limit"  # balances are from 0 to the maximum
    TIMESTAMP = "timestamp"  # is not further ahead of the recorded time than any setting allows
    HORIZON = "horizon"  # is the greatest timestamp posted so far
    LATENESS = "lateness"  # is within the bound on which reads of a balance at a date rely
    RECORDED_AT = "recorded_at"  # never decreases along seq
    REFUSAL = "refusal"  # the balance was really insufficient
    INSTANT = "instant"  # no balance in the past is negative at any instant
    SEAL = "seal"  # its hash covers its content and the preceding seal
    CHAIN = "chain"  # seals follow each other without a gap
    ROOT = "root"  # is the root of the tree over the present entries
    HEAD = "head"  # no known entry is missing at the end
    TOTALS = "totals"  # equal the content of the log
    USER = "user"  # every entry has a user, and every user an opening entry
    UUID = "uuid"  # identifies one transaction in the whole ledger
    DECIMALS = "decimals"  # are the currency's decimals with which the ledger was created
    FUNCTION = "function"  # is as the migrations created it
    INDEX = "index"  # exists, is valid, and is unique if it must be
    TRIGGER = "trigger"  # exists and is enabled


SCHEMA_RULES: Final = frozenset({Rule.DECIMALS, Rule.FUNCTION, Rule.INDEX, Rule.TRIGGER})
"""Rules about the database itself. Their faults belong to no shard and no entry, so that `shard` and `seq` are 0."""


class LedgerFault(NamedTuple):
    """A fault of the ledger: something that an intact ledger does not contain.

    Attributes:
        seq: the `seq` of the entry, or of the first entry that the seal covers; 0 if there is no entry.
        last_seq: the `seq` of the last entry that the seal covers; otherwise that of the entry.
        found, expected: descriptions, with amounts in minor units.
        uuid, user_id, number: those of the entry; None if the entry does not exist or is not known.
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
        """The place of the fault and its user, without values that must not be logged."""
        if self.rule in SCHEMA_RULES:
            return "the schema"
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
    """An entry as the audit reads it; see `saldo.ledger.model.Entry`. Times are microseconds since 2000-01-01 UTC."""

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
    """The state of a user after an entry, with which the user's next entry is compared.

    Attributes:
        seq: the `seq` of that entry; 0 if the user has no entry yet. In that case `number` is -1.
    """

    seq: int
    number: int
    balance: int
    horizon: int


NO_ENTRY: Final = UserState(0, -1, 0, BEFORE_ALL_TIME)


class ShardCounts(NamedTuple):
    """The totals of a shard up to a position. The balance is the sum of all posted amounts, in minor units."""

    users: int = 0
    posted: int = 0
    refused: int = 0
    balance: int = 0


class AuditPosition(NamedTuple):
    """The progress of the audit of a shard, with all data that is needed to continue.

    Attributes:
        seq: the `seq` of the last checked entry; 0 if none was checked.
        recorded_at: the recorded time of that entry.
        sealed_seq: the `seq` at which the last checked seal ends; 0 if none was checked.
        sealed_hash: the hash of that seal.
        counts: the totals up to `seq`.
    """

    shard: int
    seq: int = 0
    recorded_at: int = BEFORE_ALL_TIME
    sealed_seq: int = 0
    sealed_hash: bytes = FIRST_PREVIOUS
    counts: ShardCounts = ShardCounts()


class LateWithdrawals(NamedTuple):
    """A user with late withdrawals, whose timeline must be read, and the bounds of the timeline.

    Attributes:
        number: the number of the first entry that the timeline must not include yet.
        last_number: the number of the entry up to which the timeline must have all instants.
        since: the earliest instant that the timeline must cover.
    """

    user_id: int
    number: int
    last_number: int
    since: int


class InvalidEntriesError(ValueError):
    """Raised when bytes are not entries: a column is missing or null."""


def parse_raw_entries(data: bytes) -> list[RawEntry]:
    """Parse concatenated entries in the format of `saldo.ledger.seals.encode_entry`.

    Raises:
        InvalidEntriesError: the bytes are not entries.
    """
    entries, rest = divmod(len(data), ENTRY_BYTES)
    if rest or data[::ENTRY_BYTES] + data[1::ENTRY_BYTES] != (
        _COLUMNS[:1] * entries + _COLUMNS[1:] * entries
    ):
        raise InvalidEntriesError(
            f"{len(data)} bytes are not a whole number of entries of {ENTRY_BYTES} bytes"
        )
    return [*map(RawEntry._make, _ENTRY.iter_unpack(data))]


def format_microseconds(microseconds: int) -> str:
    """Format a time for people, as RFC 3339 if that is possible."""
    try:
        return format_instant(_EPOCH + timedelta(microseconds=microseconds))
    except OverflowError:
        return "-infinity" if microseconds < 0 else "infinity"


class ShardAudit:
    """The check of one shard's entries against the rules, in the order of `seq`."""

    def __init__(
        self,
        position: AuditPosition,
        stored_totals: tuple[int, ShardCounts] = (0, ShardCounts()),
        lateness_bound: int | None = None,
    ) -> None:
        """
        Args:
            position: the position from which the audit continues.
            stored_totals: the totals from saldo.totals, and the `seq` up to which they were counted.
            lateness_bound: maximum lateness of entries, in microseconds, on which reads of a balance at a date rely;
                None means no bound.
        """
        self._lateness_bound = lateness_bound
        self._shard = position.shard
        self.seq = position.seq
        self.recorded_at = position.recorded_at
        self._users_opened, self._posted, self._refused, self._balance = position.counts
        self._counted_seq, self._expected_counts = stored_totals
        self._users: dict[int, UserState] = {}
        self._timelines: dict[int, BalanceTimeline] = {}
        self._too_far: dict[int, int] = {}

    @property
    def counts(self) -> ShardCounts:
        """The totals up to `seq`."""
        return ShardCounts(self._users_opened, self._posted, self._refused, self._balance)

    def find_users_without_state(self, entries: Sequence[RawEntry]) -> dict[int, int]:
        """Return the users whose state must be set (`set_user_state`) before these entries are checked, each with the
        number of the user's first entry among them."""
        if len(self._users) > USERS_MAX:
            self._users.clear()
        first: dict[int, int] = {}
        for entry in entries:
            if entry.user_id not in self._users:
                first.setdefault(entry.user_id, entry.number)
        return {user_id: number for user_id, number in first.items() if number > 0}

    def set_user_state(self, user_id: int, last: UserState) -> None:
        """Set the state of a user before the first of the next entries; `NO_ENTRY` if there is no earlier entry."""
        self._users[user_id] = last

    def find_late_withdrawals(self, entries: Sequence[RawEntry]) -> list[LateWithdrawals]:
        """Return the users for whom `set_timeline` must be called with a timeline before these entries are checked."""
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
                timeline.last_number < last[user_id]
                or needed.get(user_id, timeline.first_instant) < timeline.first_instant
            ):
                del self._timelines[user_id]
        if sum(map(len, self._timelines.values())) > INSTANTS_MAX:
            self._timelines.clear()
        return [
            LateWithdrawals(user_id, first[user_id], last[user_id], since)
            for user_id, since in needed.items()
            if user_id not in self._timelines
        ]

    def set_timeline(self, user_id: int, timeline: BalanceTimeline) -> None:
        """Set a user's timeline, as it is before the first of the next entries."""
        self._timelines[user_id] = timeline

    def skip_late_checks(self, user_id: int, since: int) -> None:
        """Record that a user's timeline can't be read, because it would have more than `LATE_CHECK_ENTRIES_MAX`
        entries. The user's withdrawal at `since` is then a fault."""
        self._too_far[user_id] = since

    def check_entries(self, entries: Iterable[RawEntry]) -> Iterator[LedgerFault]:
        """Check entries against the rules. The next call continues after these entries.

        Yields:
            At most one fault for each entry that breaks rules, and a separate fault for each gap in `seq` and for wrong
            totals.
        """
        for entry in entries:
            if entry.seq != self.seq + 1:
                yield self._build_gap_fault(entry.seq)
            before = self._users.get(entry.user_id, NO_ENTRY)
            below_zero = self._check_timeline(entry)
            broken = self._find_broken_rule(entry, before) or below_zero
            if broken is not None:
                yield build_entry_fault(entry, self._shard, *broken)
            self.seq = entry.seq
            self.recorded_at = entry.recorded_at
            self._users[entry.user_id] = UserState(
                entry.seq, entry.number, entry.balance, entry.horizon
            )
            self._count_entry(entry)
            if entry.seq == self._counted_seq and self._expected_counts != self.counts:
                yield self._build_totals_fault()

    def _build_gap_fault(self, seq: int) -> LedgerFault:
        expected = self.seq + 1
        if seq <= self.seq:
            return LedgerFault(
                Rule.SEQ, self._shard, seq, seq, f"seq {seq} again", f"seq {expected}"
            )
        return LedgerFault(
            Rule.SEQ, self._shard, expected, seq - 1, f"seq {seq} next", f"seq {expected}"
        )

    def _find_broken_rule(
        self, entry: RawEntry, before: UserState
    ) -> tuple[Rule, object, object] | None:
        """Return the first rule that the entry breaks, the found value and the expected value; None if it breaks no
        rule."""
        if entry.shard != self._shard or compute_shard(entry.user_id) != self._shard:
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
            if (broken := _find_broken_opening_rule(entry)) is not None:
                return broken
        elif (broken := _find_broken_request_rule(entry)) is not None:
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
            return Rule.HORIZON, format_microseconds(entry.horizon), format_microseconds(horizon)
        if ((posted and entry.timestamp < horizon) or entry.recorded_at < self.recorded_at) and (
            broken := self._find_broken_time_rule(entry, late=posted)
        ) is not None:
            return broken
        # Only entries in order are checked, since a late one may be refused because of a moment in the past.
        if entry.outcome == 1 and entry.timestamp >= horizon and balance + entry.amount >= 0:
            return Rule.REFUSAL, f"refused {-entry.amount} of {balance}", "it to be posted"
        return None

    def _find_broken_time_rule(
        self, entry: RawEntry, *, late: bool
    ) -> tuple[Rule, object, object] | None:
        lateness, bound = entry.horizon - entry.timestamp, self._lateness_bound
        if late and bound is not None and lateness > bound:
            return (
                Rule.LATENESS,
                f"{lateness} microseconds late",
                f"at most {bound}, for readers look no further (saldo.ledger.lateness_bound)",
            )
        if entry.recorded_at < self.recorded_at:
            return (
                Rule.RECORDED_AT,
                format_microseconds(entry.recorded_at),
                f"not before {format_microseconds(self.recorded_at)}",
            )
        return None

    def _check_timeline(self, entry: RawEntry) -> tuple[Rule, object, object] | None:
        if entry.outcome != 0:
            return None
        if self._too_far and self._too_far.get(entry.user_id) == entry.timestamp:
            del self._too_far[entry.user_id]
            return (
                Rule.INSTANT,
                f"a withdrawal at {format_microseconds(entry.timestamp)}, posted",
                f"no more than {LATE_CHECK_ENTRIES_MAX} entries between that and it",
            )
        timeline = self._timelines.get(entry.user_id)
        if timeline is None:
            return None
        lowest = timeline.lowest_balance
        try:
            timeline.add_amount(entry.timestamp, entry.amount)
        except InstantOutsideTimelineError:
            # The log was altered between two reads of it, so the timeline is useless. It is read again.
            del self._timelines[entry.user_id]
            return None
        if timeline.lowest_balance >= min(lowest, 0):
            return None
        moment = format_microseconds(timeline.find_lowest_balance_instant())
        return Rule.INSTANT, f"a balance of {timeline.lowest_balance} at {moment}", "none below 0"

    def _count_entry(self, entry: RawEntry) -> None:
        if entry.outcome != 0:
            self._refused += 1
            return
        if entry.kind == 0:
            self._users_opened += 1
        else:
            self._posted += 1
        self._balance += entry.amount

    def _build_totals_fault(self) -> LedgerFault:
        return LedgerFault(
            Rule.TOTALS,
            self._shard,
            self.seq,
            self.seq,
            _describe_counts(self.counts),
            f"{_describe_counts(self._expected_counts)}, as in saldo.totals",
        )


def build_entry_fault(
    entry: RawEntry, shard: int, rule: Rule, found: object, expected: object
) -> LedgerFault:
    """Return a fault of this entry."""
    return LedgerFault(
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


def _find_broken_opening_rule(entry: RawEntry) -> tuple[Rule, object, object] | None:
    if entry.kind != Kind.OPENING:
        return Rule.KIND, entry.kind, "an opening entry (0) as number 0"
    if entry.number != 0:
        return Rule.KIND, "an opening entry (0)", "a deposit (1) or a withdrawal (2)"
    if entry.amount != 0:
        return Rule.AMOUNT, entry.amount, 0
    if entry.outcome != Outcome.POSTED:
        return Rule.OUTCOME, entry.outcome, int(Outcome.POSTED)
    if entry.timestamp != BEFORE_ALL_TIME:
        return Rule.TIMESTAMP, format_microseconds(entry.timestamp), "-infinity"
    return None


def _find_broken_request_rule(entry: RawEntry) -> tuple[Rule, object, object] | None:
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
            format_microseconds(entry.timestamp),
            f"at most a day after {format_microseconds(entry.recorded_at)}",
        )
    return None


def _describe_counts(counts: ShardCounts) -> str:
    return (
        f"{counts.users} users, {counts.posted} posted, {counts.refused} refused, "
        f"{counts.balance} in all"
    )
