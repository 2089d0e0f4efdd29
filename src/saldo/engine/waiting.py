"""What waits in the engine: the requests of one caller, and the future of their results."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from saldo.engine.errors import DeadlineExceededError, EngineError, OutcomeUnknownError
from saldo.ledger.model import Decision, TransactionRequest

Result: TypeAlias = Decision | EngineError
"""What became of one request: the ledger's decision, or why there is none."""


@dataclass(slots=True, eq=False)
class Waiting:
    """Requests of one caller, in order, and whoever waits for their results.

    Attributes:
        decided: one result a request; or an `EngineError` that holds for all of them.
        deadline: of the event loop's clock, seconds.
        atomic: all of them are recorded, or none.
        sent: whether they may have reached the database in an earlier attempt of ours.
        whole: what this was split from when the database rejected it.
        queued_at: of `time.monotonic`: the event loop's clock stands still during a turn.
        trace: the context of its spans; None: it isn't traced.
        ahead: requests that waited already when it came.
    """

    requests: Sequence[TransactionRequest]
    decided: asyncio.Future[list[Result]]
    deadline: float
    atomic: bool = False
    sent: bool = False
    whole: Waiting | None = None
    queued_at: float = field(default_factory=time.monotonic)
    trace: Any = None
    ahead: int = 0

    @property
    def over(self) -> bool:
        """Whether nobody waits any more: decided, past the deadline, or the client is gone."""
        return self.decided.done() or (self.whole is not None and self.whole.over)

    def expire(self) -> None:
        """Its deadline has come."""
        self.fail(OutcomeUnknownError() if self.sent else DeadlineExceededError())

    def fail(self, error: EngineError) -> None:
        """Ends it with an error for all of its requests."""
        if not self.decided.done():
            self.decided.set_exception(error)

    def part(self, requests: Sequence[TransactionRequest]) -> Waiting:
        """Some of its requests, to be decided by themselves."""
        decided: asyncio.Future[list[Result]] = self.decided.get_loop().create_future()
        return Waiting(
            *(requests, decided, self.deadline),
            sent=self.sent,
            whole=self,
            queued_at=self.queued_at,
        )


class Deadlines:
    """Ends what waits for too long. All wait equally long, so one timer, for the oldest, will do."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._oldest_first: deque[Waiting] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def next(self, loop: asyncio.AbstractEventLoop) -> float:
        """The deadline of what begins to wait now."""
        return loop.time() + self._seconds

    def watch(self, waiting: Waiting) -> None:
        """Ends it when its deadline comes, unless it is over before."""
        oldest_first = self._oldest_first
        while oldest_first and oldest_first[0].decided.done():
            oldest_first.popleft()
        oldest_first.append(waiting)
        if self._timer is None:
            loop = waiting.decided.get_loop()
            self._timer = loop.call_at(oldest_first[0].deadline, self._expire, loop)

    def stop(self) -> None:
        """Watches no more."""
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
