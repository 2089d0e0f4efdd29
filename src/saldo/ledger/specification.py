"""The executable specification: the readable statement of the rules, slow on purpose.

A fold of requests over a ledger held in memory. It knows every history by heart and answers each
question by its definition (a sum over all entries), where the SQL function `post` uses indexes.
Property tests hold the one against the other; `saldo verify` audits a real ledger with it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from datetime import datetime
from itertools import groupby
from uuid import UUID

from saldo.ledger.model import (
    Decision,
    Entry,
    Kind,
    Limits,
    Outcome,
    TransactionRequest,
    differing_fields,
    shard_of,
)


class Ledger:
    """All entries, and how the next one is decided."""

    def __init__(self, limits: Limits | None = None, *, by_shard: bool = False) -> None:
        """
        Args:
            by_shard: a uuid stands for one transaction in each shard, as in a distributed ledger; else for one in all.
        """
        self.limits = limits or Limits()
        self._by_shard = by_shard
        self._shards: dict[int, list[Entry]] = defaultdict(list)
        self._users: dict[int, list[Entry]] = {}
        self._by_uuid: dict[tuple[int, UUID], Entry] = {}

    def open(self, user_id: int, uuid: UUID, now: datetime) -> Entry:
        """Creates a user: the opening entry, number 0, balance 0, effective before all time."""
        return self._record(user_id, uuid, Kind.OPENING, Outcome.POSTED, 0, None, now)

    def post(self, requests: Iterable[TransactionRequest], now: datetime) -> Iterator[Decision]:
        """Decides requests in order of arrival.

        Args:
            requests: the batch.
            now: the ledger's clock; an entry is never recorded before the head of its shard.

        Yields:
            A decision for each request.
        """
        for request in requests:
            yield self._decide(request, now)

    def balance_at(
        self, user_id: int, date: datetime | None, known_at: datetime | None = None
    ) -> int:
        """The balance at a moment (inclusive), as it was known at a moment (inclusive).

        Args:
            date: effective time; None counts everything.
            known_at: recording time; None counts everything.

        Returns:
            Minor units: by definition the sum of what was posted.
        """
        return sum(
            entry.amount
            for entry in self._users[user_id]
            if entry.outcome is Outcome.POSTED
            and (entry.timestamp is None or date is None or entry.timestamp <= date)
            and (known_at is None or entry.recorded_at <= known_at)
        )

    def entries(self, user_id: int) -> list[Entry]:
        """The user's entries by number, the opening entry first."""
        return list(self._users[user_id])

    def _key(self, user_id: int, uuid: UUID) -> tuple[int, UUID]:
        return (shard_of(user_id) if self._by_shard else 0, uuid)

    def _decide(self, request: TransactionRequest, now: datetime) -> Decision:
        recorded = self._by_uuid.get(self._key(request.user_id, request.uuid))
        if recorded is not None:
            if recorded.kind is Kind.OPENING or differing_fields(request, recorded):
                return _decision(recorded, Outcome.UUID_CONFLICT)
            return _decision(recorded, recorded.outcome)._replace(replayed=True)
        if request.user_id not in self._users:
            return Decision(Outcome.USER_NOT_FOUND)

        now = self._clock(request.user_id, now)
        horizon = self._users[request.user_id][-1].horizon
        timestamp = request.timestamp
        if timestamp is None:
            # Never late, and never before what was posted up to the tolerance ahead of the clock.
            timestamp = now if horizon is None else max(now, horizon)
        outcome = self._outcome(request.user_id, request.amount, timestamp, horizon, now)
        if not outcome.recorded:
            return Decision(outcome)
        kind = Kind.DEPOSIT if request.amount > 0 else Kind.WITHDRAWAL
        entry = self._record(
            request.user_id, request.uuid, kind, outcome, request.amount, timestamp, now
        )
        return _decision(entry, outcome)

    def _outcome(
        self,
        user_id: int,
        amount: int,
        timestamp: datetime,
        horizon: datetime | None,
        now: datetime,
    ) -> Outcome:
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
            after = sum(
                1
                for entry in self._users[user_id]
                if entry.horizon is not None and entry.horizon > timestamp
            )
            if after > limits.late_check_entries_max:
                return Outcome.LATE_CHECK_TOO_LONG
            if self._lowest_from(user_id, timestamp) + amount < 0:
                return Outcome.INSUFFICIENT_FUNDS
        return Outcome.POSTED

    def _lowest_from(self, user_id: int, date: datetime) -> int:
        """The lowest balance at the moment and at every later one, minor units."""
        lowest = balance = self.balance_at(user_id, date)
        later = sorted(
            (entry.timestamp, entry.amount)
            for entry in self._users[user_id]
            if entry.outcome is Outcome.POSTED
            and entry.timestamp is not None
            and entry.timestamp > date
        )
        # Entries of one instant count together: between them there is no moment to ask about.
        for _, instant in groupby(later, key=lambda item: item[0]):
            balance += sum(amount for _, amount in instant)
            lowest = min(lowest, balance)
        return lowest

    def _clock(self, user_id: int, now: datetime) -> datetime:
        log = self._shards[shard_of(user_id)]
        return max(now, log[-1].recorded_at) if log else now

    def _record(
        self,
        user_id: int,
        uuid: UUID,
        kind: Kind,
        outcome: Outcome,
        amount: int,
        timestamp: datetime | None,
        now: datetime,
    ) -> Entry:
        log = self._shards[shard_of(user_id)]
        history = self._users.setdefault(user_id, [])
        last = history[-1] if history else None
        balance = last.balance if last else 0
        horizon = last.horizon if last else None
        if outcome is Outcome.POSTED:
            balance += amount
            if timestamp is not None:
                horizon = timestamp if horizon is None else max(horizon, timestamp)
        entry = Entry(
            shard=shard_of(user_id),
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
            recorded_at=self._clock(user_id, now),
        )
        log.append(entry)
        history.append(entry)
        self._by_uuid[self._key(user_id, uuid)] = entry
        return entry


def _decision(entry: Entry, outcome: Outcome) -> Decision:
    return Decision(
        outcome=outcome,
        user_id=entry.user_id,
        number=entry.number,
        amount=entry.amount,
        balance=entry.balance,
        timestamp=entry.timestamp,
        recorded_at=entry.recorded_at,
    )
