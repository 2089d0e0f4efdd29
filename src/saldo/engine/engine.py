"""The engine: takes a request, answers with the ledger's decision."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from saldo.engine.errors import QueueFullError
from saldo.engine.lane import Lane, Posting, Waiting
from saldo.ledger.model import Decision, TransactionRequest, shard_of
from saldo.observability.metrics import SHED


class Engine:
    """Spreads requests over lanes by the user's shard, bounds how many wait and for how long."""

    def __init__(
        self,
        connect: Callable[[int], Awaitable[Posting]],
        *,
        lanes: int,
        batch_requests_max: int,
        queue_requests_max: int,
        request_deadline_seconds: float,
        batch_timeout_seconds: float,
    ) -> None:
        self._lanes = [
            Lane(
                number,
                connect,
                batch_requests_max=batch_requests_max,
                batch_timeout_seconds=batch_timeout_seconds,
            )
            for number in range(lanes)
        ]
        self._queue_requests_max = queue_requests_max
        self._deadline_seconds = request_deadline_seconds
        self._requests = 0
        self._accepting = False

    @property
    def requests(self) -> int:
        """Requests that wait for their decision."""
        return self._requests

    @property
    def saturated(self) -> bool:
        """Whether the next request would be shed."""
        return (
            not self._accepting
            or self._requests >= self._queue_requests_max
            # Those whose deadline has come stay queued until the lane reaches them.
            or any(lane.queued >= self._queue_requests_max for lane in self._lanes)
        )

    def start(self) -> None:
        """Accepts requests from now on."""
        for lane in self._lanes:
            lane.start()
        self._accepting = True

    async def stop(self, seconds: float) -> None:
        """Accepts no more, finishes what it has, for at most so long."""
        self._accepting = False
        await asyncio.gather(*(lane.stop(seconds) for lane in self._lanes))

    async def post(self, request: TransactionRequest) -> Decision:
        """Has one request decided; the decision is committed when this returns.

        Raises:
            QueueFullError, DeadlineExceededError: never sent to the database.
            OutcomeUnknownError: sent, and not known in time.
            RequestFailedError: the database can't take this request.
        """
        if self.saturated:
            SHED.inc()
            raise QueueFullError
        loop = asyncio.get_running_loop()
        waiting = Waiting(request, loop.create_future())
        timer = loop.call_later(self._deadline_seconds, waiting.expire)
        self._requests += 1
        try:
            self._lanes[shard_of(request.user_id) % len(self._lanes)].put(waiting)
            # A client that goes away cancels its own wait, never the batch.
            return await waiting.decided
        finally:
            self._requests -= 1
            timer.cancel()
