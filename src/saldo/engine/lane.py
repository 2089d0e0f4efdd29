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
    def abort_connection(self) -> None: ...
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
        self._slow_batches = SlowBatches(limits.slow_log_seconds)
        self._deferred: list[PendingRequest] = []
        """Requests of the batch that the database left undecided, in order. They are put back at the head of the
        queue."""
        self._poster: BatchPoster | None = None
        self._node: Node | None = None
        """The node of the current connection, or of the last one if there is none now."""
        self._task: asyncio.Task[None] | None = None
        self.is_busy = False
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
        while (batch := await self._wait_for_batch(number)) is not None:
            self.is_busy = True
            try:
                await self._switch_node(batch.node)
                await self._post_until_decided(batch.pending)
                self._queue.put_back(self._deferred)
                await self._linger(sum(len(pending.requests) for pending in batch.pending))
            except ShardUnreachableError:
                self._queue.requeue_after_backoff(batch)
                continue
            except asyncio.CancelledError:
                _expire_batch(batch.pending)
                self._queue.release(batch)
                raise
            except Exception:
                _log.exception("a batch failed unexpectedly")
                _expire_batch(batch.pending)
                self._drop_connection()
            self._queue.release(batch)

    async def _wait_for_batch(self, number: int) -> Batch | None:
        self.is_busy = False
        self._deferred = []
        return await self._queue.take_batch(number)

    async def _linger(self, answered_requests: int) -> None:
        """Wait for a short time (linger), so that the next batch grows while other processes hold the shards.

        If a small batch were sent immediately, it would wait for the locks and could not grow meanwhile. The batches of
        all processes would then stay small. While a lane waits, its queue grows, because clients that were just
        answered often send their next request soon. The lane keeps its groups claimed.
        """
        if self._poster is None:
            return
        seconds = LINGER_LOCK_WAIT_FACTOR * self._poster.lock_wait_seconds
        self._queue.is_contended = seconds >= LINGER_SECONDS_MIN
        if self._queue.is_contended:
            expected_requests = answered_requests + self._queue.requests
            await self._queue.wait_for_growth(expected_requests, min(seconds, LINGER_SECONDS_MAX))

    async def _post_until_decided(self, batch: list[PendingRequest]) -> None:
        """Post the batch until each of its requests is decided, deferred to the next batch, or expired."""
        began_at = time.monotonic()
        backoff = BACKOFF_SECONDS_MIN
        clashes = 0
        while batch := [pending for pending in batch if not pending.is_done]:
            try:
                batch = await self._post_once(batch)
                if not batch:
                    return
                if not (
                    batch := _fail_requests_of_unknown_outcome(batch, time.monotonic() - began_at)
                ):
                    return
            except UuidRaceError as error:
                clashes += 1
                if clashes >= CLASHES_MAX:
                    await self._bisect_batch(batch, error)
                    return
                if clashes == 1:
                    RESENDS.inc()
                    continue  # the next attempt sees the entries of the other batch
            except (StatementTimeoutError, RejectedError, OutcomeUncertainError) as error:
                await self._bisect_batch(batch, error)
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

    async def _bisect_batch(self, batch: list[PendingRequest], error: StoreError) -> None:
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
        (pending,) = batch
        if len(pending.requests) > 1 and not pending.is_atomic:
            await self._post_in_halves(pending)
            return
        _log.error("the database rejected a request: %s", error)
        # This attempt recorded nothing. But an earlier attempt, whose connection was lost, may have recorded the
        # request.
        failure: EngineError = OutcomeUnknownError()
        if not pending.may_have_been_sent:
            timed_out = isinstance(error, StatementTimeoutError)
            failure = DeadlineExceededError() if timed_out else RequestFailedError()
        _set_results(pending, [failure] * len(pending.requests))

    async def _post_in_halves(self, pending: PendingRequest) -> None:
        middle = len(pending.requests) // 2
        results: list[Result] = []
        # Both parts are created before the first is posted. Otherwise the state after the first part's attempt would be
        # copied to the second part.
        parts = [
            pending.split(requests)
            for requests in (pending.requests[:middle], pending.requests[middle:])
        ]
        for part in parts:
            await self._post_until_decided([part])
            while part in self._deferred:
                self._deferred.remove(part)
                await self._post_until_decided([part])
            await asyncio.sleep(0)  # the results are set in the next iteration
            if not part.results_future.done():  # nobody waits for the results any more
                return
            results += part.results_future.result()
        _set_results(pending, results)

    async def _post_once(self, batch: list[PendingRequest]) -> list[PendingRequest]:
        """Post the batch once, and resolve the decided requests.

        Returns:
            The requests whose outcome is not final yet, because an earlier attempt may still be running.
        """
        taken_at = time.monotonic()
        if self._poster is None:
            self._poster = await self._connect(self._number, self._node)
            RECONNECTS.inc()
        if any(pending.lost_attempts for pending in batch):
            await self._prune_lost_attempts(batch, self._poster)
        retry_flags = [pending.may_have_been_sent for pending in batch]
        requests = [request for pending in batch for request in pending.requests]
        sent_at = time.monotonic()
        decisions = await self._send_batch(batch, requests, self._poster)
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
        batch, retry_flags, known_decisions = self._defer_undecided(batch, retry_flags, decisions)
        self._report_wait(oldest, batch)
        unsettled = _find_unsettled(batch, known_decisions)
        asyncio.get_running_loop().call_soon(
            self._set_decisions, batch, retry_flags, known_decisions, unsettled, report
        )
        return unsettled

    def _report_wait(
        self, oldest: PendingRequest | None, decided_requests: list[PendingRequest]
    ) -> None:
        """Report the waiting time of the oldest request.

        Requests that an earlier batch has deferred (late withdrawals) are left out. Nothing is reported if the oldest
        request is atomic, because atomic requests wait only for each other.
        """
        if oldest is not None and oldest.known_results is not None:
            others = (pending for pending in decided_requests if pending.known_results is None)
            oldest = min(others, key=attrgetter("queued_at"), default=None)
        if oldest is not None and not oldest.is_atomic:  # atomic requests wait for each other only
            self._observe_wait(oldest.requests_ahead, time.monotonic() - oldest.queued_at)

    def _defer_undecided(
        self,
        batch: list[PendingRequest],
        retry_flags: list[bool],
        decisions: Sequence[Decision | None],
    ) -> tuple[list[PendingRequest], list[bool], list[Decision]]:
        """Keep the undecided requests for a later batch, and return the others."""
        known_decisions = [decision for decision in decisions if decision is not None]
        if len(known_decisions) == len(decisions):
            return batch, retry_flags, known_decisions
        decided_requests: list[tuple[PendingRequest, bool]] = []
        known_decisions = []
        for pending, was_retried, part_decisions in zip(
            batch, retry_flags, _split_by_pending(batch, decisions), strict=True
        ):
            available_decisions = [decision for decision in part_decisions if decision is not None]
            if len(available_decisions) == len(part_decisions):
                decided_requests.append((pending, was_retried))
                known_decisions += available_decisions
            else:
                pending.keep_results(
                    _clear_replayed(part_decisions, was_retried=was_retried),
                    have_attempts_ended=not pending.lost_attempts,
                )
                pending.may_have_been_sent = was_retried
                self._deferred.append(pending)
        return (
            [each for each, _ in decided_requests],
            [was_retried for _, was_retried in decided_requests],
            known_decisions,
        )

    async def _prune_lost_attempts(self, batch: list[PendingRequest], poster: BatchPoster) -> None:
        """Remove the lost attempts of the requests, if these attempts have ended. The check is made before the batch is
        sent, so that the outcomes of the batch are final."""
        lost_attempts = {backend for pending in batch for backend in pending.lost_attempts}
        known_attempts = [backend for backend in lost_attempts if backend is not None]
        if known_attempts and not await poster.is_any_alive(known_attempts):
            for pending in batch:
                pending.lost_attempts.difference_update(known_attempts)

    async def _send_batch(
        self,
        batch: list[PendingRequest],
        requests: Sequence[TransactionRequest],
        poster: BatchPoster,
    ) -> Sequence[Decision | None]:
        """Send the requests of a batch, and update `may_have_been_sent` and `lost_attempts` of each.

        Raises:
            StoreError: There are no decisions; see `Poster.post`.
        """
        # If a part of a split request is sent, the object from which it was split gets the same state, because the
        # deadline applies to that object.
        sent_requests = batch if batch[0].parent is None else [*batch[0].iterate_with_parents()]
        sent_before = [pending.may_have_been_sent for pending in sent_requests]
        for pending in sent_requests:
            pending.may_have_been_sent = True
        call = asyncio.ensure_future(poster.post(requests, atomic=batch[0].is_atomic))
        try:
            with BATCH_SECONDS.time():
                done, _ = await asyncio.wait([call], timeout=self._limits.batch_timeout_seconds)
            if not done:
                poster.abort_connection()
                with contextlib.suppress(StoreError, asyncio.CancelledError):
                    await call
                raise ConnectionLostError("no response to a batch before its timeout")  # noqa: TRY301
            BATCH_REQUESTS.observe(len(requests))
            return call.result()
        except (UuidRaceError, TemporarilyUnavailableError, RejectedError):
            # This attempt recorded nothing, so the state before it is restored.
            for pending, was_sent in zip(sent_requests, sent_before, strict=True):
                pending.may_have_been_sent = was_sent
            raise
        except ConnectionLostError:
            for pending in sent_requests:
                pending.lost_attempts.add(poster.backend)
            raise
        finally:
            call.cancel()  # no effect if the call has ended

    def _set_decisions(
        self,
        batch: list[PendingRequest],
        retry_flags: list[bool],
        decisions: list[Decision],
        unsettled: list[PendingRequest],
        report: BatchReport,
    ) -> None:
        for pending, was_retried, part in zip(
            batch, retry_flags, _split_by_pending(batch, decisions), strict=True
        ):
            if unsettled and pending in unsettled:
                continue
            _set_results(pending, [*_clear_replayed(part, was_retried=was_retried)])
        self._notify_posted()
        self._slow_batches.record_batch(report)
        if self._tracing is not None:
            traced_requests = [
                TracedRequest(pending.trace, pending.queued_at)
                for pending in batch
                if pending.trace is not None
            ]
            self._tracing.record_batch(traced_requests, report)

    async def _switch_node(self, node: Node | None) -> None:
        if node != self._node and self._poster is not None:
            await self._poster.close()
            self._poster = None
        self._node = node

    def _drop_connection(self) -> None:
        if self._poster is not None:
            self._poster.abort_connection()
            self._poster = None


class ShardUnreachableError(Exception):
    """Raised when the shard of a batch can't be reached. The lane then continues with the batches of other shards."""


def _set_results(pending: PendingRequest, results: list[Result]) -> None:
    pending.decide(results)


def _clear_replayed(decisions: Sequence[D], *, was_retried: bool) -> Sequence[D]:
    if not was_retried:
        return decisions
    # After a lost connection, the lane's own resend causes the replay, and not the client.
    return [decision and decision._replace(replayed=False) for decision in decisions]


def _split_by_pending(batch: list[PendingRequest], decisions: Sequence[D]) -> Iterator[Sequence[D]]:
    """Yield the decisions of each pending request."""
    begin = 0
    for pending in batch:
        end = begin + len(pending.requests)
        yield decisions[begin:end]
        begin = end


def _find_unsettled(batch: list[PendingRequest], decisions: list[Decision]) -> list[PendingRequest]:
    """Return the requests whose outcome is not final yet, because an earlier attempt may still be running."""
    if not any(pending.lost_attempts for pending in batch):
        return []
    parts = _split_by_pending(batch, decisions)
    return [
        pending for pending, part in zip(batch, parts, strict=True) if not pending.are_final(part)
    ]


def _fail_requests_of_unknown_outcome(
    batch: list[PendingRequest], seconds: float
) -> list[PendingRequest]:
    """Fail the requests that no further attempt can settle in time, and return the others."""
    unsettled = []
    for pending in batch:
        if None in pending.lost_attempts or seconds >= UNSETTLED_SECONDS_MAX:
            _set_results(pending, [OutcomeUnknownError()] * len(pending.requests))
        else:
            unsettled.append(pending)
    return unsettled


def _expire_batch(batch: list[PendingRequest]) -> None:
    for pending in batch:
        pending.expire()
