"""The executable specification: a readable statement of the ledger's rules, which is slow on purpose.

It applies requests to a ledger in memory. It keeps the whole history and computes each answer by its definition (a sum
over all entries), where the SQL function `post` uses indexes. Property tests compare the two, and the fake service of
`saldo.testing` uses the specification for its decisions.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from uuid import UUID

from saldo.ledger.model import (
    Decision,
    Entry,
    Kind,
    LedgerLimits,
    Outcome,
    TransactionRequest,
    compute_shard,
    find_differing_fields,
)


class SpecifiedLedger:
    """A ledger: all its entries, and the decisions about further requests."""

    def __init__(self, limits: LedgerLimits | None = None, *, by_shard: bool = False) -> None:
        """
        Args:
            by_shard: whether a uuid is unique only within its shard, as in a distributed ledger. Otherwise it is unique
                within the whole ledger.
        """
        self.limits = limits or LedgerLimits()
        self._by_shard = by_shard
        self._shards: dict[int, list[Entry]] = defaultdict(list)
        self._users: dict[int, list[Entry]] = {}
        self._by_uuid: dict[tuple[int, UUID], Entry] = {}

    def create_user(self, user_id: int, uuid: UUID, now: datetime) -> Entry:
        """Create a user by recording the opening entry.

        It has number 0, balance 0 and no timestamp, and takes effect before every other entry of the user.
        """
        return self._record_entry(user_id, uuid, Kind.OPENING, Outcome.POSTED, 0, None, now)

    def post(self, requests: Iterable[TransactionRequest], now: datetime) -> Iterator[Decision]:
        """Decide requests in order of arrival, each as a separate batch.

        Args:
            requests: the requests, in order of arrival.
            now: the ledger's clock. If the shard's last entry has a later recorded time, that time is used instead.

        Yields:
            A decision for each request.
        """
        for request in requests:
            yield from (each for each in self.post_batch([request], lambda _: now) if each)

    def post_batch(
        self,
        requests: Sequence[TransactionRequest],
        now: Callable[[int], datetime],
        *,
        atomic: bool = False,
    ) -> list[Decision | None]:
        """Decide a batch.

        Args:
            requests: the requests, in order of arrival.
            now: returns the ledger's clock for a shard. If the shard's last entry has a later recorded time, that time
                is used instead.
            atomic: return LATE_CHECK_TOO_LONG for requests that would stay undecided. The caller must ensure that
                nothing is recorded unless all requests are posted.

        Returns:
            A decision for each request. None means that the request is undecided, for one of two reasons: the late
            withdrawals before it have read as many entries as a batch may, or an undecided request of the same user or
            with the same uuid precedes this request.
        """
        costs = self._compute_late_costs(requests)
        batch = _Batch(self.limits.late_batch_entries_max, costs, atomic=atomic)
        decisions = []
        for request in requests:
            decision = self._decide(request, now(compute_shard(request.user_id)), batch)
            if decision is None:
                batch.waiting |= {
                    request.user_id,
                    self._build_uuid_key(request.user_id, request.uuid),
                }
            decisions.append(decision)
        return decisions

    def _compute_late_costs(self, requests: Sequence[TransactionRequest]) -> dict[int, int]:
        """Return the number of entries that the checks of late withdrawals read, by user. These are the entries after
        the earliest timestamp of the user's late withdrawals."""
        limits = self.limits
        costs: dict[int, int] = {}
        for request in requests:
            entries = self._users.get(request.user_id)
            if (
                entries is None
                or request.amount > 0
                or request.timestamp is None
                or self._build_uuid_key(request.user_id, request.uuid) in self._by_uuid
            ):
                continue
            horizon = entries[-1].horizon
            if horizon is None or request.timestamp >= horizon:
                continue
            if limits.max_lateness is None or request.timestamp >= horizon - limits.max_lateness:
                after = _count_entries_recorded_after(entries, request.timestamp)
                known = costs.get(request.user_id, 0)
                costs[request.user_id] = max(known, min(after, limits.late_check_entries_max))
        return costs

    def get_balance(
        self, user_id: int, date: datetime | None, known_at: datetime | None = None
    ) -> int:
        """Return the balance at a date (inclusive), as it was known at a time (inclusive).

        Args:
            date: effective time; None includes all entries.
            known_at: recorded time; None includes all entries.

        Returns:
            The balance in minor units: by definition, the sum of the posted amounts.
        """
        return sum(
            entry.amount
            for entry in self._users[user_id]
            if entry.outcome is Outcome.POSTED
            and (entry.timestamp is None or date is None or entry.timestamp <= date)
            and (known_at is None or entry.recorded_at <= known_at)
        )

    def list_entries(self, user_id: int) -> list[Entry]:
        """Return the user's entries by number, the opening entry first."""
        return list(self._users[user_id])

    def _build_uuid_key(self, user_id: int, uuid: UUID) -> tuple[int, UUID]:
        return (compute_shard(user_id) if self._by_shard else 0, uuid)

    def _decide(self, request: TransactionRequest, now: datetime, batch: _Batch) -> Decision | None:
        key = self._build_uuid_key(request.user_id, request.uuid)
        recorded = self._by_uuid.get(key)
        if recorded is not None:
            if recorded.kind is Kind.OPENING or find_differing_fields(request, recorded):
                return _build_decision(recorded, Outcome.UUID_CONFLICT)
            return _build_decision(recorded, recorded.outcome)._replace(replayed=True)
        if batch.waiting & {request.user_id, key}:
            return None
        if request.user_id not in self._users:
            return Decision(Outcome.USER_NOT_FOUND)

        now = self._compute_recorded_at(request.user_id, now)
        horizon = self._users[request.user_id][-1].horizon
        timestamp = request.timestamp
        if timestamp is None:
            # An entry without a requested timestamp is never late, not even after entries that were posted ahead of the
            # clock.
            timestamp = now if horizon is None else max(now, horizon)
        outcome = self._decide_outcome(
            request.user_id, request.amount, timestamp, horizon, now, batch
        )
        if outcome is None:
            return None
        if not outcome.is_recorded:
            return Decision(outcome)
        kind = Kind.DEPOSIT if request.amount > 0 else Kind.WITHDRAWAL
        entry = self._record_entry(
            request.user_id, request.uuid, kind, outcome, request.amount, timestamp, now
        )
        return _build_decision(entry, outcome)

    def _decide_outcome(
        self,
        user_id: int,
        amount: int,
        timestamp: datetime,
        horizon: datetime | None,
        now: datetime,
        batch: _Batch,
    ) -> Outcome | None:
        limits = self.limits
        late = horizon is not None and timestamp < horizon
        if timestamp > now + limits.future_tolerance:
            return Outcome.TIMESTAMP_IN_FUTURE
        if (
            limits.max_lateness is not None
            and horizon is not None
            and timestamp < horizon - limits.max_lateness
        ):
            return Outcome.TIMESTAMP_TOO_LATE
        balance = self._users[user_id][-1].balance + amount
        if amount > 0:
            above = balance > limits.balance_max
            return Outcome.BALANCE_ABOVE_MAXIMUM if above else Outcome.POSTED
        if balance < 0:
            return Outcome.INSUFFICIENT_FUNDS
        if late:
            if not batch.may_read(user_id):
                return Outcome.LATE_CHECK_TOO_LONG if batch.atomic else None
            if (
                _count_entries_recorded_after(self._users[user_id], timestamp)
                > limits.late_check_entries_max
            ):
                return Outcome.LATE_CHECK_TOO_LONG
            if self._find_lowest_balance(user_id, timestamp) + amount < 0:
                return Outcome.INSUFFICIENT_FUNDS
        return Outcome.POSTED

    def _find_lowest_balance(self, user_id: int, date: datetime) -> int:
        """Return the lowest balance at the date and at every later time, in minor units."""
        lowest = balance = self.get_balance(user_id, date)
        later = sorted(
            (entry.timestamp, entry.amount)
            for entry in self._users[user_id]
            if entry.outcome is Outcome.POSTED
            and entry.timestamp is not None
            and entry.timestamp > date
        )
        # Entries of one instant count together, because there is no moment between them.
        for _, instant in groupby(later, key=lambda item: item[0]):
            balance += sum(amount for _, amount in instant)
            lowest = min(lowest, balance)
        return lowest

    def _compute_recorded_at(self, user_id: int, now: datetime) -> datetime:
        log = self._shards[compute_shard(user_id)]
        return max(now, log[-1].recorded_at) if log else now

    def _record_entry(
        self,
        user_id: int,
        uuid: UUID,
        kind: Kind,
        outcome: Outcome,
        amount: int,
        timestamp: datetime | None,
        now: datetime,
    ) -> Entry:
        log = self._shards[compute_shard(user_id)]
        history = self._users.setdefault(user_id, [])
        last = history[-1] if history else None
        balance = last.balance if last else 0
        horizon = last.horizon if last else None
        if outcome is Outcome.POSTED:
            balance += amount
            if timestamp is not None:
                horizon = timestamp if horizon is None else max(horizon, timestamp)
        entry = Entry(
            shard=compute_shard(user_id),
            seq=len(log) + 1,
            user_id=user_id,
            number=len(history),
            uuid=uuid,
            kind=kind,
            outcome=outcome,
            amount=amount,
            balance=balance,
            timestamp=timestamp,
            horizon=horizon,
            recorded_at=self._compute_recorded_at(user_id, now),
        )
        log.append(entry)
        history.append(entry)
        self._by_uuid[self._build_uuid_key(user_id, uuid)] = entry
        return entry


@dataclass(slots=True)
class _Batch:
    """The progress of a batch, with the entries that its late withdrawals read.

    Attributes:
        entries_max: maximum number of entries read for all users together. The check of the first user may read more.
        costs: number of entries that are read once for all late withdrawals of a user, by user. Users without late
            withdrawals are absent.
        waiting: users and uuids of undecided requests.
    """

    entries_max: int
    costs: dict[int, int]
    atomic: bool = False
    spent: int = 0
    users: set[int] = field(default_factory=set)
    waiting: set[int | tuple[int, UUID]] = field(default_factory=set)

    def may_read(self, user_id: int) -> bool:
        """Return whether the batch may read the entries for the user's check. If so, count these entries."""
        if user_id not in self.users:
            cost = self.costs.get(user_id, 0)
            if cost > 0 and self.spent > 0 and self.spent + cost > self.entries_max:
                return False
            self.spent += cost
            self.users.add(user_id)
        return True


def _count_entries_recorded_after(entries: list[Entry], timestamp: datetime) -> int:
    return sum(1 for entry in entries if entry.horizon is not None and entry.horizon > timestamp)


def _build_decision(entry: Entry, outcome: Outcome) -> Decision:
    return Decision(
        outcome=outcome,
        user_id=entry.user_id,
        number=entry.number,
        amount=entry.amount,
        balance=entry.balance,
        timestamp=entry.timestamp,
        recorded_at=entry.recorded_at,
    )
