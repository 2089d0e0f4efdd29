"""The waiting requests of one caller, with the future of their results, and their deadlines."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from uuid import UUID

from saldo.engine.errors import DeadlineExceededError, EngineError, OutcomeUnknownError
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.connections.connection import Backend

Result: TypeAlias = Decision | EngineError
"""The result of one request: the ledger's decision, or an error if there is no decision."""


@dataclass(slots=True, eq=False)
class PendingRequest:
    """The requests of one caller, in order, with the future of their results.

    Attributes:
        decided: The future of the results. It has one result for each request, or raises an `EngineError` that applies
            to all requests.
        deadline: The deadline by the event loop's clock, in seconds.
        atomic: Whether all of the requests are recorded, or none.
        may_have_been_sent: Whether an attempt may have recorded any of the requests.
        lost: The PostgreSQL processes of lost attempts that may still be running; None stands for an unknown process.
        parent: The object from which this one was split, after the database had rejected a batch; None if it was not
            split.
        queued_at: The time of queueing. It is taken from `time.monotonic`, because the event loop's clock does not
            advance during an iteration.
        trace: The context of the spans; None if the requests are not traced.
        queued_before: The number of requests that were waiting before these.
        known: The results of all original requests, in order, after a batch has left some of them undecided. An
            undecided request has None here, and only undecided requests remain in `requests`. Before that, the
            attribute itself is None.
    """

    requests: Sequence[TransactionRequest]
    decided: asyncio.Future[list[Result]]
    deadline: float
    atomic: bool = False
    may_have_been_sent: bool = False
    lost: set[Backend | None] = field(default_factory=set)
    parent: PendingRequest | None = None
    queued_at: float = field(default_factory=time.monotonic)
    trace: Any = None
    queued_before: int = 0
    known: list[Result | None] | None = None

    @property
    def is_done(self) -> bool:
        """True if nobody waits for the results: they are decided or expired, or the client has disconnected."""
        return self.decided.done() or (self.parent is not None and self.parent.is_done)

    def expire(self) -> None:
        """Fail the requests because their deadline has passed."""
        self.fail_unless_sent(DeadlineExceededError())

    def fail_unless_sent(self, error: EngineError) -> None:
        """Fail the requests with an error that means "nothing was recorded". If a request may have been recorded, the
        error is `OutcomeUnknownError` instead."""
        recorded = self.known is not None and any(self.known)
        self.fail(OutcomeUnknownError() if self.may_have_been_sent or recorded else error)

    def decide(self, results: list[Result]) -> None:
        """Set the result of each request."""
        if self.decided.done():
            return
        if self.known is not None:
            left = iter(results)
            results = [next(left) if result is None else result for result in self.known]
        self.decided.set_result(results)

    def keep(self, results: Sequence[Result | None], *, settled: bool) -> None:
        """Store the available results; the other requests continue to wait.

        Args:
            results: One result for each of `requests`; None if undecided.
            settled: Whether every earlier attempt has ended. Otherwise only recorded outcomes are stored.
        """
        if not settled:
            results = [
                result if isinstance(result, Decision) and result.number is not None else None
                for result in results
            ]
        left = iter(results)
        known = self.known or [None] * len(self.requests)
        self.known = [next(left) if result is None else result for result in known]
        pairs = zip(self.requests, results, strict=True)
        self.requests = [request for request, result in pairs if result is None]

    def with_parents(self) -> Iterator[PendingRequest]:
        """Yield this object, the object from which it was split, and so on up to an object that was not split off."""
        waiting: PendingRequest | None = self
        while waiting is not None:
            yield waiting
            waiting = waiting.parent

    def are_final(self, decisions: Sequence[Decision]) -> bool:
        """Return whether these decisions are final, even if an earlier attempt is still running.

        A recorded outcome is final, and so is a conflict with a recorded entry. Any other outcome can change, because
        the lost attempt may run later, after the user was created or a deposit was posted.
        """
        if not self.lost:
            return True
        if self.atomic and any(decision.outcome is not Outcome.POSTED for decision in decisions):
            return self._never_posted(decisions)
        return all(decision.number is not None for decision in decisions)

    def _never_posted(self, decisions: Sequence[Decision]) -> bool:
        """Return whether one of the requests can never be posted under its uuid, so that the array can't be posted
        either."""
        seen: set[UUID] = set()
        for request, decision in zip(self.requests, decisions, strict=True):
            if decision.outcome is Outcome.UUID_CONFLICT:
                return True
            # If a uuid occurs twice in the array, the second decision is a replay of the first one, although nothing is
            # recorded under the uuid.
            refused = decision.replayed and decision.outcome is not Outcome.POSTED
            if refused and request.uuid not in seen:
                return True
            seen.add(request.uuid)
        return False

    def fail(self, error: EngineError) -> None:
        """Fail all requests with one error."""
        if not self.decided.done():
            self.decided.set_exception(error)

    def split(self, requests: Sequence[TransactionRequest]) -> PendingRequest:
        """Split off some of the requests, to be decided separately."""
        decided: asyncio.Future[list[Result]] = self.decided.get_loop().create_future()
        return PendingRequest(
            *(requests, decided, self.deadline),
            may_have_been_sent=self.may_have_been_sent,
            lost={*self.lost},
            parent=self,
            queued_at=self.queued_at,
        )


class Deadlines:
    """The deadlines of waiting requests. All have the same timeout, so that one timer for the oldest is enough."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._oldest_first: deque[PendingRequest] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def next(self, loop: asyncio.AbstractEventLoop) -> float:
        """Return the deadline of a request that is queued now."""
        return loop.time() + self._seconds

    def watch(self, waiting: PendingRequest) -> None:
        """Expire the requests at their deadline, unless they are decided before."""
        oldest_first = self._oldest_first
        while oldest_first and oldest_first[0].decided.done():
            oldest_first.popleft()
        oldest_first.append(waiting)
        if self._timer is None:
            loop = waiting.decided.get_loop()
            self._timer = loop.call_at(oldest_first[0].deadline, self._expire, loop)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._oldest_first.clear()

    def _expire(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        oldest_first = self._oldest_first
        while oldest_first and (oldest_first[0].decided.done() or oldest_first[0].deadline <= now):
            oldest_first.popleft().expire()
        if oldest_first:
            self._timer = loop.call_at(oldest_first[0].deadline, self._expire, loop)
