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
        results_future: The future of the results. It has one result for each request, or raises an `EngineError` that
            applies to all requests.
        deadline: The deadline by the event loop's clock, in seconds.
        is_atomic: Whether all of the requests are recorded, or none.
        may_have_been_sent: Whether an attempt may have recorded any of the requests.
        lost_attempts: The PostgreSQL processes of lost attempts that may still be running; None stands for an unknown
            process.
        parent: The object from which this one was split, after the database had rejected a batch; None if it was not
            split.
        queued_at: The time of queueing. It is taken from `time.monotonic`, because the event loop's clock does not
            advance during an iteration.
        trace: The context of the spans; None if the requests are not traced.
        requests_ahead: The number of requests that were waiting before these.
        known_results: The results of all original requests, in order, after a batch has left some of them undecided. An
            undecided request has None here, and only undecided requests remain in `requests`. Before that, the
            attribute itself is None.
    """

    requests: Sequence[TransactionRequest]
    results_future: asyncio.Future[list[Result]]
    deadline: float
    is_atomic: bool = False
    may_have_been_sent: bool = False
    lost_attempts: set[Backend | None] = field(default_factory=set)
    parent: PendingRequest | None = None
    queued_at: float = field(default_factory=time.monotonic)
    trace: Any = None
    requests_ahead: int = 0
    known_results: list[Result | None] | None = None

    @property
    def is_done(self) -> bool:
        """True if nobody waits for the results: they are decided or expired, or the client has disconnected."""
        return self.results_future.done() or (self.parent is not None and self.parent.is_done)

    def expire(self) -> None:
        """Fail the requests because their deadline has passed."""
        self.fail_unless_sent(DeadlineExceededError())

    def fail_unless_sent(self, error: EngineError) -> None:
        """Fail the requests with an error that means "nothing was recorded". If a request may have been recorded, the
        error is `OutcomeUnknownError` instead."""
        is_any_recorded = self.known_results is not None and any(self.known_results)
        self.fail(OutcomeUnknownError() if self.may_have_been_sent or is_any_recorded else error)

    def decide(self, results: list[Result]) -> None:
        """Set the result of each request."""
        if self.results_future.done():
            return
        if self.known_results is not None:
            remaining_results = iter(results)
            results = [
                next(remaining_results) if result is None else result
                for result in self.known_results
            ]
        self.results_future.set_result(results)

    def keep_results(self, results: Sequence[Result | None], *, have_attempts_ended: bool) -> None:
        """Store the available results; the other requests continue to wait.

        Args:
            results: One result for each of `requests`; None if undecided.
            have_attempts_ended: Whether every earlier attempt has ended. Otherwise only recorded outcomes are stored.
        """
        if not have_attempts_ended:
            results = [
                result if isinstance(result, Decision) and result.number is not None else None
                for result in results
            ]
        remaining_results = iter(results)
        known_results = self.known_results or [None] * len(self.requests)
        self.known_results = [
            next(remaining_results) if result is None else result for result in known_results
        ]
        pairs = zip(self.requests, results, strict=True)
        self.requests = [request for request, result in pairs if result is None]

    def iterate_with_parents(self) -> Iterator[PendingRequest]:
        """Yield this object, the object from which it was split, and so on up to an object that was not split off."""
        pending: PendingRequest | None = self
        while pending is not None:
            yield pending
            pending = pending.parent

    def are_final(self, decisions: Sequence[Decision]) -> bool:
        """Return whether these decisions are final, even if an earlier attempt is still running.

        A recorded outcome is final, and so is a conflict with a recorded entry. Any other outcome can change, because
        the lost attempt may run later, after the user was created or a deposit was posted.
        """
        if not self.lost_attempts:
            return True
        if self.is_atomic and any(decision.outcome is not Outcome.POSTED for decision in decisions):
            return self._was_never_posted(decisions)
        return all(decision.number is not None for decision in decisions)

    def _was_never_posted(self, decisions: Sequence[Decision]) -> bool:
        """Return whether one of the requests can never be posted under its uuid, so that the array can't be posted
        either."""
        seen_uuids: set[UUID] = set()
        for request, decision in zip(self.requests, decisions, strict=True):
            if decision.outcome is Outcome.UUID_CONFLICT:
                return True
            # If a uuid occurs twice in the array, the second decision is a replay of the first one, although nothing is
            # recorded under the uuid.
            is_recorded_refusal = decision.replayed and decision.outcome is not Outcome.POSTED
            if is_recorded_refusal and request.uuid not in seen_uuids:
                return True
            seen_uuids.add(request.uuid)
        return False

    def fail(self, error: EngineError) -> None:
        """Fail all requests with one error."""
        if not self.results_future.done():
            self.results_future.set_exception(error)

    def split(self, requests: Sequence[TransactionRequest]) -> PendingRequest:
        """Split off some of the requests, to be decided separately."""
        results_future: asyncio.Future[list[Result]] = (
            self.results_future.get_loop().create_future()
        )
        return PendingRequest(
            *(requests, results_future, self.deadline),
            may_have_been_sent=self.may_have_been_sent,
            lost_attempts={*self.lost_attempts},
            parent=self,
            queued_at=self.queued_at,
        )


class Deadlines:
    """The deadlines of waiting requests. All have the same timeout, so that one timer for the oldest is enough."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._oldest_first: deque[PendingRequest] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def compute_deadline(self, loop: asyncio.AbstractEventLoop) -> float:
        """Return the deadline of a request that is queued now."""
        return loop.time() + self._seconds

    def watch(self, pending: PendingRequest) -> None:
        """Expire the requests at their deadline, unless they are decided before."""
        oldest_first = self._oldest_first
        while oldest_first and oldest_first[0].results_future.done():
            oldest_first.popleft()
        oldest_first.append(pending)
        if self._timer is None:
            loop = pending.results_future.get_loop()
            self._timer = loop.call_at(oldest_first[0].deadline, self._expire_oldest, loop)

    def stop(self) -> None:
        """Stop the timer."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._oldest_first.clear()

    def _expire_oldest(self, loop: asyncio.AbstractEventLoop) -> None:
        self._timer = None
        now = loop.time()
        oldest_first = self._oldest_first
        while oldest_first and (
            oldest_first[0].results_future.done() or oldest_first[0].deadline <= now
        ):
            oldest_first.popleft().expire()
        if oldest_first:
            self._timer = loop.call_at(oldest_first[0].deadline, self._expire_oldest, loop)
