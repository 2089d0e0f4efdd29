"""The engine, which queues requests and returns the ledger's decisions."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from saldo.engine.admission import AdmissionLimit
from saldo.engine.errors import EngineError, QueueFullError
from saldo.engine.lane import Connect, Lane, LaneLimits, NotifyPosted
from saldo.engine.pending import Deadlines, PendingRequest, Result
from saldo.engine.queue import RequestQueue
from saldo.ledger.model import SHARDS, Decision, TransactionRequest, compute_shard
from saldo.observability.metrics import QUEUE_LIMIT, SHED
from saldo.store.citus.placement import Node

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

ATOMIC_LANES = 1
"""Number of lanes for atomic requests, in addition to `EngineLimits.lanes`."""


@dataclass(frozen=True, slots=True)
class EngineLimits:
    """The limits of the engine; see the settings of the same names.

    `by_shard` is true for a distributed ledger. A batch then contains requests of one shard only, and `lanes` is the
    number of lanes for each node that has shards.
    """

    lanes: int
    by_shard: bool
    batch_requests_max: int
    parallel_lanes_requests_min: int
    queue_requests_max: int
    queue_wait_seconds_max: float
    request_deadline_seconds: float
    batch_timeout_seconds: float
    slow_log_seconds: float


class Engine:
    """The engine, which queues requests for the lanes and limits their number and their waiting time."""

    def __init__(
        self,
        connect: Connect,
        limits: EngineLimits,
        notify_posted: NotifyPosted = lambda: None,
        tracing: Tracing | None = None,
    ) -> None:
        """
        Args:
            notify_posted: Called after each recorded batch. It must not block.
            tracing: Receives the spans of batches with traced requests.
        """
        self._tracing = tracing
        self.by_shard = limits.by_shard
        """True for a distributed ledger. The users of an atomic request must then be in one shard."""
        self._groups = SHARDS if limits.by_shard else limits.lanes
        self._queue = RequestQueue(
            groups=self._groups,
            batch_requests_max=limits.batch_requests_max,
            parallel_lanes_requests_min=limits.parallel_lanes_requests_min,
            one_group=limits.by_shard,
        )
        self.admission = AdmissionLimit(
            limits.queue_wait_seconds_max, limits.queue_requests_max, self._queue
        )
        """Decides whether a request may be queued. The load shedder also uses it, before a request is parsed."""
        QUEUE_LIMIT.set(limits.queue_requests_max)
        # Each atomic request needs a separate database transaction. A separate lane posts atomic requests, one at a
        # time.
        self._atomic_queue = RequestQueue(
            groups=1, batch_requests_max=1, parallel_lanes_requests_min=1
        )
        self._lanes_of_node = limits.lanes
        self._create_lane = partial(
            Lane,
            connect=connect,
            limits=LaneLimits(limits.batch_timeout_seconds, limits.slow_log_seconds),
            notify_posted=notify_posted,
            observe_wait=self.admission.observe_wait,
            tracing=tracing,
        )
        queues = [*[self._queue] * limits.lanes, *[self._atomic_queue] * ATOMIC_LANES]
        self._lanes = [
            self._create_lane(number, queue=queue) for number, queue in enumerate(queues)
        ]
        self._deadlines = Deadlines(limits.request_deadline_seconds)
        self._loop: asyncio.AbstractEventLoop | None = None

    @property
    def lanes(self) -> int:
        """The number of lanes."""
        return len(self._lanes)

    @property
    def lanes_busy(self) -> int:
        """The number of lanes with a batch in flight."""
        return sum(lane.is_busy for lane in self._lanes)

    def start(self) -> None:
        """Start the lanes and accept requests."""
        # The event loop is looked up once, because each lookup makes a system call.
        self._loop = asyncio.get_running_loop()
        for lane in self._lanes:
            lane.start()
        self.admission.is_open = True

    def assign_groups_to_nodes(self, nodes: Sequence[Node | None]) -> None:
        """Set the node of each shard of a distributed ledger; None means the configured database.

        Lanes connect to these nodes. If the number of nodes has grown, lanes are added.
        """
        self._queue.assign_groups_to_nodes(nodes)
        while len(self._lanes) < self._lanes_of_node * self._queue.node_count + ATOMIC_LANES:
            lane = self._create_lane(len(self._lanes), queue=self._queue)
            self._lanes.append(lane)
            if self.admission.is_open:
                lane.start()

    async def stop(self, seconds: float) -> None:
        """Reject new requests, and finish the queued ones. Requests that are not finished within the time limit
        fail."""
        self.admission.is_open = False
        for queue in (self._queue, self._atomic_queue):
            queue.close()
        await asyncio.gather(*(lane.stop(seconds) for lane in self._lanes))
        for pending in (*self._queue.take_all_requests(), *self._atomic_queue.take_all_requests()):
            # On a distributed ledger the request may have been sent before (`RequestQueue.requeue_after_backoff`).
            pending.fail_unless_sent(QueueFullError())
        self._deadlines.stop()

    async def post(self, request: TransactionRequest) -> Decision:
        """Post one request, and return the decision after it is committed.

        Raises:
            QueueFullError, DeadlineExceededError: Nothing was recorded.
            OutcomeUnknownError: The request may be recorded.
            RequestFailedError: The database rejected this request; nothing was recorded.
        """
        if not self.admission.try_admit():
            SHED.inc()
            raise QueueFullError
        try:
            pending = self._create_pending([request])
            self._queue.put(pending, compute_shard(request.user_id) % self._groups)
            # If the client disconnects, only this wait is cancelled. The batch continues.
            (result,) = await pending.results_future
        finally:
            self.admission.release()
        if isinstance(result, EngineError):
            raise result
        return result

    async def post_many(self, requests: Sequence[TransactionRequest]) -> list[Result]:
        """Post many requests. Requests of the same user are decided in the given order.

        Returns:
            A result for each request. An `EngineError` is returned and not raised.
        """
        parts: dict[int, list[int]] = {}
        for index, request in enumerate(requests):
            parts.setdefault(compute_shard(request.user_id) % self._groups, []).append(index)
        results: list[Result] = [QueueFullError()] * len(requests)

        async def post_part(group: int, indexes: list[int]) -> None:
            try:
                part_results = await self._post_bulk(
                    [requests[index] for index in indexes], self._queue, group
                )
            except EngineError as error:
                part_results = [error] * len(indexes)
            for index, result in zip(indexes, part_results, strict=True):
                results[index] = result

        await asyncio.gather(*(post_part(*part) for part in parts.items()))
        return results

    async def post_atomic(self, requests: Sequence[TransactionRequest]) -> list[Decision]:
        """Post all of the requests or none. On a distributed ledger the users of the requests must be in one shard.

        Returns:
            A decision for each request. Nothing was recorded unless every outcome is posted.

        Raises:
            EngineError: As for `post`.
        """
        decisions = []
        for result in await self._post_bulk(requests, self._atomic_queue, atomic=True):
            if isinstance(result, EngineError):
                raise result
            decisions.append(result)
        return decisions

    async def _post_bulk(
        self,
        requests: Sequence[TransactionRequest],
        queue: RequestQueue,
        group: int = 0,
        *,
        atomic: bool = False,
    ) -> list[Result]:
        count = len(requests)
        if not self.admission.try_admit(count, bulk=True):
            SHED.inc(count)
            raise QueueFullError
        try:
            pending = self._create_pending(requests, atomic=atomic)
            queue.put(pending, group)
            return await pending.results_future
        finally:
            self.admission.release(count)

    def _create_pending(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> PendingRequest:
        """Return the pending request of requests that were just admitted."""
        loop = self._loop
        assert loop is not None
        pending = PendingRequest(
            requests, loop.create_future(), self._deadlines.compute_deadline(loop), atomic
        )
        pending.requests_ahead = self.admission.admitted_requests - len(requests)
        if self._tracing is not None:
            pending.trace = self._tracing.get_current_context()
        self._deadlines.watch(pending)
        return pending
