"""A lane: one database connection that posts batches, one at a time. While a batch is in flight, the requests of the
next one collect in the queue.

On a distributed ledger the connection leads to one node, and posts to the shards of that node.

The busier the database is, the larger the batches are.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol, TypeVar

from saldo.engine.errors import (
    DeadlineExceededError,
    EngineError,
    OutcomeUnknownError,
    RequestFailedError,
)
from saldo.engine.pending import PendingRequest, Result
from saldo.engine.queue import Batch, RequestQueue
from saldo.ledger.model import Decision, TransactionRequest
from saldo.observability.batch_reports import BatchReport, SlowBatches, TracedRequest
from saldo.observability.metrics import BATCH_REQUESTS, BATCH_SECONDS, RECONNECTS, RESENDS
from saldo.store.citus.placement import Node
from saldo.store.connections.connection import Backend
from saldo.store.errors import (
    ConnectionLostError,
    OutcomeUncertainError,
    RejectedError,
    StatementTimeoutError,
    StoreError,
    TemporarilyUnavailableError,
    UuidRaceError,
)

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Maximum backoff between attempts to connect to the database. It is short, so that posting resumes soon after an
outage."""

CLASHES_MAX = 3
"""Number of consecutive uuid clashes after which a batch is bisected. In a clash, another batch recorded one of the
uuids at the same time. The first resend already sees the entries of the other batch, so that repeated clashes have
another cause."""

UNSETTLED_SECONDS_MAX = 3.0
"""Maximum time for which a lane waits until the PostgreSQL process of a lost attempt has ended. After that, the outcome
is reported as unknown. Normally the process notices the lost connection within `client_connection_check_interval` (one
second). It may take longer if the network is interrupted."""

LINGER_LOCK_WAIT_FACTOR = 1.2
"""Time for which a lane lingers to collect requests, as a multiple of the last batch's lock wait. The lanes of other
processes post in that time, so that the database is not idle. A smaller factor makes smaller batches, and a larger
factor only adds a delay."""

LINGER_SECONDS_MIN = 0.0005
LINGER_SECONDS_MAX = 0.05
"""Maximum time for which a lane lingers. A longer lock wait has another cause than the batches of other processes."""

_log = logging.getLogger("saldo.engine")

D = TypeVar("D", Decision, Decision | None)


class BatchPoster(Protocol):
    """The interface of a database connection that a lane uses. It is implemented by `saldo.store.poster.Poster`."""

    @property
    def lock_wait_seconds(self) -> float: ...
    @property
    def backend(self) -> Backend | None: ...
    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> Sequence[Decision | None]: ...
    async def is_any_alive(self, backends: Sequence[Backend]) -> bool: ...
    def abort(self) -> None: ...
    async def close(self) -> None: ...


Connect = Callable[[int, Node | None], Awaitable[BatchPoster]]
"""Function that takes the number of a lane and a node, and opens the connection of the lane to that node. If the node
is None, the connection leads to the configured database."""

ObserveWait = Callable[[int, float], None]
"""Function that takes a sample of the waiting time: the number of requests queued before the oldest request of a batch,
and the seconds for which that request waited."""

NotifyPosted = Callable[[], None]
"""Function that is called after each recorded batch, and wakes the readers of the log."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """The limits of a lane; see the settings of the same names."""

    batch_timeout_seconds: float
    slow_log_seconds: float


class Lane:
    """A lane, which takes batches from the queue and posts each batch until its requests are decided."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        queue: RequestQueue,
        limits: LaneLimits,
        notify_posted: NotifyPosted,
        observe_wait: ObserveWait,
        tracing: Tracing | None,
    ) -> None:
        self._number = number
        self._connect = connect
        self._queue = queue
        self._limits = limits
        self._notify_posted = notify_posted
        self._observe_wait = observe_wait
        self._tracing = tracing
        self._slow = SlowBatches(limits.slow_log_seconds)
        self._deferred: list[PendingRequest] = []
        """Requests of the batch that the database left undecided, in order. They are put back at the head of the
        queue."""
        self._poster: BatchPoster | None = None
        self._node: Node | None = None
        """The node of the current connection, or of the last one if there is none now."""
        self._task: asyncio.Task[None] | None = None
        self.busy = False
        """True while a batch is in flight."""

    def start(self) -> None:
        """Start the lane. It connects when it has the first batch."""
        self._task = asyncio.create_task(self._run(), name=f"lane {self._number}")

    async def stop(self, seconds: float) -> None:
        """Wait until the lane has finished the requests of the closed queue. After a time limit, cancel the lane."""
        if self._task is not None:
            done, _ = await asyncio.wait([self._task], timeout=seconds)
            if not done:
                self._task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await self._task
                # The connection is not closed gracefully, because a call may still be running whose commit waits for
                # the standby.
                self._drop_connection()
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def _run(self) -> None:
        number = self._queue.register_lane()
        while (batch := await self._next_batch(number)) is not None:
            self.busy = True
            try:
                await self._switch_node(batch.node)
                await self._post_until_decided(batch.waiting)
                self._queue.put_back(self._deferred)
                await self._linger(sum(len(waiting.requests) for waiting in batch.waiting))
            except ShardUnreachableError:
                self._queue.requeue_after_backoff(batch)
                continue
            except asyncio.CancelledError:
                _expire(batch.waiting)
                self._queue.release(batch)
                raise
            except Exception:
                _log.exception("a batch failed unexpectedly")
                _expire(batch.waiting)
                self._drop_connection()
            self._queue.release(batch)

    async def _next_batch(self, number: int) -> Batch | None:
        self.busy = False
        self._deferred = []
        return await self._queue.take(number)

    async def _linger(self, answered: int) -> None:
        """Wait for a short time (linger), so that the next batch grows while other processes hold the shards.

        If a small batch were sent immediately, it would wait for the locks and could not grow meanwhile. The batches of
        all processes would then stay small. While a lane waits, its queue grows, because clients that were just
        answered often send their next request soon. The lane keeps its groups claimed.
        """
        if self._poster is None:
            return
        seconds = LINGER_LOCK_WAIT_FACTOR * self._poster.lock_wait_seconds
        self._queue.contended = seconds >= LINGER_SECONDS_MIN
        if self._queue.contended:
            expected = answered + self._queue.requests
            await self._queue.wait_for_growth(expected, min(seconds, LINGER_SECONDS_MAX))

    async def _post_until_decided(self, batch: list[PendingRequest]) -> None:
        """Post the batch until each of its requests is decided, deferred to the next batch, or expired."""
        began_at = time.monotonic()
        backoff = BACKOFF_SECONDS_MIN
        clashes = 0
        while batch := [waiting for waiting in batch if not waiting.is_done]:
            try:
                batch = await self._post(batch)
                if not batch:
                    return
                if not (batch := _still_settling(batch, time.monotonic() - began_at)):
                    return
            except UuidRaceError as error:
                clashes += 1
                if clashes >= CLASHES_MAX:
                    await self._bisect(batch, error)
                    return
                if clashes == 1:
                    RESENDS.inc()
                    continue  # the next attempt sees the entries of the other batch
            except (StatementTimeoutError, RejectedError, OutcomeUncertainError) as error:
                await self._bisect(batch, error)
                return
            except (ConnectionLostError, TemporarilyUnavailableError) as error:
                clashes = 0
                _log.warning("lane %d: %s; sending the batch again", self._number, error)
                if isinstance(error, ConnectionLostError):
                    self._drop_connection()
                    began_at = time.monotonic()
                if self._queue.one_group:
                    RESENDS.inc()
                    raise ShardUnreachableError from error
            RESENDS.inc()
            # Jitter prevents the lanes of many processes from retrying at the same time.
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
            backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)

    async def _bisect(self, batch: list[PendingRequest], error: StoreError) -> None:
        """Bisect the batch to isolate the rejected request. Only that request fails, and the others are posted."""
        RESENDS.inc()
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._post_until_decided(batch[:middle])
            if self._deferred:
                # No later request may overtake a deferred one.
                self._deferred += batch[middle:]
                return
            await self._post_until_decided(batch[middle:])
            return
        (waiting,) = batch
        if len(waiting.requests) > 1 and not waiting.atomic:
            await self._split(waiting)
            return
        _log.error("the database rejected a request: %s", error)
        # This attempt recorded nothing. But an earlier attempt, whose connection was lost, may have recorded the
        # request.
        failure: EngineError = OutcomeUnknownError()
        if not waiting.may_have_been_sent:
            timed_out = isinstance(error, StatementTimeoutError)
            failure = DeadlineExceededError() if timed_out else RequestFailedError()
        _decide(waiting, [failure] * len(waiting.requests))

    async def _split(self, waiting: PendingRequest) -> None:
        middle = len(waiting.requests) // 2
        results: list[Result] = []
        # Both parts are created before the first is posted. Otherwise the state after the first part's attempt would be
        # copied to the second part.
        parts = [
            waiting.split(requests)
            for requests in (waiting.requests[:middle], waiting.requests[middle:])
        ]
        for part in parts:
            await self._post_until_decided([part])
            while part in self._deferred:
                self._deferred.remove(part)
                await self._post_until_decided([part])
            await asyncio.sleep(0)  # the results are set in the next iteration
            if not part.decided.done():  # nobody waits for the results any more
                return
            results += part.decided.result()
        _decide(waiting, results)

    async def _post(self, batch: list[PendingRequest]) -> list[PendingRequest]:
        """Post the batch once, and resolve the decided requests.

        Returns:
            The requests whose outcome is not final yet, because an earlier attempt may still be running.
        """
        taken_at = time.monotonic()
        if self._poster is None:
            self._poster = await self._connect(self._number, self._node)
            RECONNECTS.inc()
        if any(waiting.lost for waiting in batch):
            await self._remove_ended_attempts(batch, self._poster)
        retried = [waiting.may_have_been_sent for waiting in batch]
        requests = [request for waiting in batch for request in waiting.requests]
        sent_at = time.monotonic()
        decisions = await self._call(batch, requests, self._poster)
        # The results are set a little later (`call_soon`), so that the next batch is sent before the responses to this
        # one are written.
        oldest = min(batch, key=attrgetter("queued_at"))
        report = BatchReport(
            self._number,
            len(requests),
            oldest.queued_at,
            *(taken_at, sent_at, time.monotonic()),
            self._poster.lock_wait_seconds,
        )
        batch, retried, decided = self._defer(batch, retried, decisions)
        self._report_wait(oldest, batch)
        unsettled = _find_unsettled(batch, decided)
        asyncio.get_running_loop().call_soon(
            self._resolve, batch, retried, decided, unsettled, report
        )
        return unsettled

    def _report_wait(self, oldest: PendingRequest | None, decided: list[PendingRequest]) -> None:
        """Report the waiting time of the oldest request. Deferred late withdrawals and atomic requests are excluded,
        because they wait for each other."""
        if oldest is not None and oldest.known is not None:
            others = (waiting for waiting in decided if waiting.known is None)
            oldest = min(others, key=attrgetter("queued_at"), default=None)
        if oldest is not None and not oldest.atomic:  # atomic requests wait for each other only
            self._observe_wait(oldest.queued_before, time.monotonic() - oldest.queued_at)

    def _defer(
        self, batch: list[PendingRequest], retried: list[bool], decisions: Sequence[Decision | None]
    ) -> tuple[list[PendingRequest], list[bool], list[Decision]]:
        """Keep the undecided requests for a later batch, and return the others."""
        decided = [decision for decision in decisions if decision is not None]
        if len(decided) == len(decisions):
            return batch, retried, decided
        others: list[tuple[PendingRequest, bool]] = []
        decided = []
        for waiting, again, part in zip(
            batch, retried, _split_by_pending(batch, decisions), strict=True
        ):
            whole = [decision for decision in part if decision is not None]
            if len(whole) == len(part):
                others.append((waiting, again))
                decided += whole
            else:
                waiting.keep(_results(part, again=again), settled=not waiting.lost)
                waiting.may_have_been_sent = again
                self._deferred.append(waiting)
        return [each for each, _ in others], [again for _, again in others], decided

    async def _remove_ended_attempts(
        self, batch: list[PendingRequest], poster: BatchPoster
    ) -> None:
        """Remove the lost attempts of the requests, if these attempts have ended. The check is made before the batch is
        sent, so that the outcomes of the batch are final."""
        lost = {backend for waiting in batch for backend in waiting.lost}
        known = [backend for backend in lost if backend is not None]
        if known and not await poster.is_any_alive(known):
            for waiting in batch:
                waiting.lost.difference_update(known)

    async def _call(
        self,
        batch: list[PendingRequest],
        requests: Sequence[TransactionRequest],
        poster: BatchPoster,
    ) -> Sequence[Decision | None]:
        """Send the requests of a batch, and update `may_have_been_sent` and `lost` of each.

        Raises:
            StoreError: There are no decisions; see `Poster.post`.
        """
        # If a part of a split request is sent, the object from which it was split gets the same state, because the
        # deadline applies to that object.
        sending = batch if batch[0].parent is None else [*batch[0].with_parents()]
        before = [waiting.may_have_been_sent for waiting in sending]
        for waiting in sending:
            waiting.may_have_been_sent = True
        call = asyncio.ensure_future(poster.post(requests, atomic=batch[0].atomic))
        try:
            with BATCH_SECONDS.time():
                done, _ = await asyncio.wait([call], timeout=self._limits.batch_timeout_seconds)
            if not done:
                poster.abort()
                with contextlib.suppress(StoreError, asyncio.CancelledError):
                    await call
                raise ConnectionLostError("no response to a batch before its timeout")  # noqa: TRY301
            BATCH_REQUESTS.observe(len(requests))
            return call.result()
        except (UuidRaceError, TemporarilyUnavailableError, RejectedError):
            # This attempt recorded nothing, so the state before it is restored.
            for waiting, sent in zip(sending, before, strict=True):
                waiting.may_have_been_sent = sent
            raise
        except ConnectionLostError:
            for waiting in sending:
                waiting.lost.add(poster.backend)
            raise
        finally:
            call.cancel()  # no effect if the call has ended

    def _resolve(
        self,
        batch: list[PendingRequest],
        retried: list[bool],
        decisions: list[Decision],
        unsettled: list[PendingRequest],
        report: BatchReport,
    ) -> None:
        for waiting, again, part in zip(
            batch, retried, _split_by_pending(batch, decisions), strict=True
        ):
            if unsettled and waiting in unsettled:
                continue
            _decide(waiting, [*_results(part, again=again)])
        self._notify_posted()
        self._slow.record(report)
        if self._tracing is not None:
            traced = [
                TracedRequest(waiting.trace, waiting.queued_at)
                for waiting in batch
                if waiting.trace is not None
            ]
            self._tracing.batch(traced, report)

    async def _switch_node(self, node: Node | None) -> None:
        if node != self._node and self._poster is not None:
            await self._poster.close()
            self._poster = None
        self._node = node

    def _drop_connection(self) -> None:
        if self._poster is not None:
            self._poster.abort()
            self._poster = None


class ShardUnreachableError(Exception):
    """Raised when the shard of a batch can't be reached. The lane then continues with the batches of other shards."""


def _decide(waiting: PendingRequest, results: list[Result]) -> None:
    waiting.decide(results)


def _results(decisions: Sequence[D], *, again: bool) -> Sequence[D]:
    if not again:
        return decisions
    # After a lost connection, the lane's own resend causes the replay, and not the client.
    return [decision and decision._replace(replayed=False) for decision in decisions]


def _split_by_pending(batch: list[PendingRequest], decisions: Sequence[D]) -> Iterator[Sequence[D]]:
    """Yield the decisions of each pending request."""
    begin = 0
    for waiting in batch:
        end = begin + len(waiting.requests)
        yield decisions[begin:end]
        begin = end


def _find_unsettled(batch: list[PendingRequest], decisions: list[Decision]) -> list[PendingRequest]:
    """Return the requests whose outcome is not final yet, because an earlier attempt may still be running."""
    if not any(waiting.lost for waiting in batch):
        return []
    parts = _split_by_pending(batch, decisions)
    return [
        waiting for waiting, part in zip(batch, parts, strict=True) if not waiting.are_final(part)
    ]


def _still_settling(batch: list[PendingRequest], seconds: float) -> list[PendingRequest]:
    """Fail the requests that no further attempt can settle in time, and return the others."""
    rest = []
    for waiting in batch:
        if None in waiting.lost or seconds >= UNSETTLED_SECONDS_MAX:
            _decide(waiting, [OutcomeUnknownError()] * len(waiting.requests))
        else:
            rest.append(waiting)
    return rest


def _expire(batch: list[PendingRequest]) -> None:
    for waiting in batch:
        waiting.expire()
