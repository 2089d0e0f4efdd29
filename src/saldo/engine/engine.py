"""The engine: takes requests, answers with the ledger's decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from saldo.engine.errors import EngineError, QueueFullError
from saldo.engine.lane import Announce, Connect, Lane, LaneLimits
from saldo.engine.queue import Queue
from saldo.engine.room import Room
from saldo.engine.waiting import Deadlines, Result, Waiting
from saldo.ledger.model import SHARDS, Decision, TransactionRequest, shard_of
from saldo.observability.metrics import QUEUE_LIMIT, SHED
from saldo.store.places import Node

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The engine's bounds; see the settings of the same names.

    by_shard: a batch is of one shard; then there are so many lanes for each node that has shards.
    """

    lanes: int
    by_shard: bool
    batch_requests_max: int
    split_requests_min: int
    queue_requests_max: int
    queue_wait_seconds_max: float
    request_deadline_seconds: float
    batch_timeout_seconds: float
    slow_seconds: float


class Engine:
    """Queues requests for the lanes; bounds how many wait and for how long."""

    def __init__(
        self,
        connect: Connect,
        limits: EngineLimits,
        announce: Announce = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            announce: called after each batch that has been recorded; must not wait.
            tracing: gets the spans of batches with traced requests.
        """
        self._tracing = tracing
        self.by_shard = limits.by_shard
        """Whether the ledger is distributed: nothing is done in two shards at once."""
        self._groups = SHARDS if limits.by_shard else limits.lanes
        self._queue_requests_max = limits.queue_requests_max
        self._queue = Queue(
            groups=self._groups,
            batch_requests_max=limits.batch_requests_max,
            split_requests_min=limits.split_requests_min,
            one_group=limits.by_shard,
        )
        self._room = Room(limits.queue_wait_seconds_max, limits.queue_requests_max)
        QUEUE_LIMIT.set(limits.queue_requests_max)
        # All or nothing is a database transaction by itself: a lane of its own, one at a time.
        self._atomic_queue = Queue(groups=1, batch_requests_max=1, split_requests_min=1)
        self._lanes_of_node = limits.lanes
        self._lane = partial(
            Lane,
            connect=connect,
            limits=LaneLimits(limits.batch_timeout_seconds, limits.slow_seconds),
            announce=announce,
            learn=self._room.learn,
            tracing=tracing,
        )
        queues = [*[self._queue] * limits.lanes, self._atomic_queue]
        self._lanes = [self._lane(number, queue=queue) for number, queue in enumerate(queues)]
        self._deadlines = Deadlines(limits.request_deadline_seconds)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._requests = 0
        self._accepting = False

    @property
    def requests(self) -> int:
        """Requests that wait for their decision."""
        return self._requests

    @property
    def queue_requests(self) -> int:
        """What is held against the bound of the queue."""
        # Those whose deadline has come stay queued until a lane reaches them.
        return max(self._requests, self._queue.requests)

    @property
    def saturated(self) -> bool:
        """Whether the next request would be shed."""
        return not self._accepting or self.queue_requests >= self._queue_requests_max

    @property
    def room(self) -> int:
        """So many single requests more may wait, so that none waits for too long."""
        return self._room.requests - self._requests

    def start(self) -> None:
        """Accepts requests from now on."""
        # Asked once: the question is a system call each time.
        self._loop = asyncio.get_running_loop()
        for lane in self._lanes:
            lane.start()
        self._accepting = True

    def place(self, nodes: Sequence[Node | None]) -> None:
        """Says which node has each shard of a distributed ledger; None: the database as it is named.

        Lanes go there, and there are more of them if there are more nodes.
        """
        self._queue.place(nodes)
        while len(self._lanes) < self._lanes_of_node * self._queue.places + 1:
            lane = self._lane(len(self._lanes), queue=self._queue)
            self._lanes.append(lane)
            if self._accepting:
                lane.start()

    async def stop(self, seconds: float) -> None:
        """Accepts no more, finishes what it has, for at most so long; what is left then fails."""
        self._accepting = False
        for queue in (self._queue, self._atomic_queue):
            queue.close()
        await asyncio.gather(*(lane.stop(seconds) for lane in self._lanes))
        for waiting in (*self._queue.drain(), *self._atomic_queue.drain()):
            waiting.fail(QueueFullError())
        self._deadlines.stop()

    async def post(self, request: TransactionRequest) -> Decision:
        """Has one request decided; the decision is committed when this returns.

        Raises:
            QueueFullError, DeadlineExceededError: never sent to the database.
            OutcomeUnknownError: sent, and not known in time.
            RequestFailedError: the database can't take this request.
        """
        if self._requests >= self._room.requests:
            SHED.inc()
            raise QueueFullError
        waiting = self._admit([request])
        self._queue.put(waiting, shard_of(request.user_id) % self._groups)
        self._requests += 1
        try:
            # A client that goes away cancels its own wait, never the batch.
            (result,) = await waiting.decided
        finally:
            self._requests -= 1
        if isinstance(result, EngineError):
            raise result
        return result

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        """Has many requests decided, those of one user in the order given.

        Returns:
            A result for each request. Never raises an `EngineError`.
        """
        parts: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            parts.setdefault(shard_of(request.user_id) % self._groups, []).append(index)
        results: list[Result] = [QueueFullError()] * len(requests)

        async def post_part(group: int, indexes: list[int]) -> None:
            try:
                waiting = self._admit([requests[index] for index in indexes])
                self._queue.put(waiting, group)
                found = await self._results(waiting)
            except EngineError as error:
                found = [error] * len(indexes)
            for index, result in zip(indexes, found, strict=True):
                results[index] = result

        await asyncio.gather(*(post_part(*part) for part in parts.items()))
        return results

    async def post_atomic(self, requests: Sequence[TransactionRequest]) -> list[Decision]:
        """Has all of the requests recorded as posted, or none of them; `by_shard`: of users of one shard.

        Returns:
            A decision for each; unless every outcome is posted, nothing was recorded.

        Raises:
            EngineError: as `post`.
        """
        waiting = self._admit(requests, atomic=True)
        self._atomic_queue.put(waiting)
        decisions = []
        for result in await self._results(waiting):
            if isinstance(result, EngineError):
                raise result
            decisions.append(result)
        return decisions

    def _admit(self, requests: Sequence[TransactionRequest], *, atomic: bool = False) -> Waiting:
        if self.saturated:
            SHED.inc(len(requests))
            raise QueueFullError
        loop = self._loop
        assert loop is not None
        waiting = Waiting(requests, loop.create_future(), self._deadlines.next(loop), atomic)
        waiting.ahead = self._requests
        if self._tracing is not None:
            waiting.trace = self._tracing.current()
        self._deadlines.watch(waiting)
        return waiting

    async def _results(self, waiting: Waiting) -> list[Result]:
        count = len(waiting.requests)
        self._requests += count
        try:
            return await waiting.decided
        finally:
            self._requests -= count
