"""A lane: one connection that posts, one batch in flight; the next one collects meanwhile.

Where the ledger is distributed the connection is to a node that has shards, and posts to those.

The batch grows exactly as fast as the database is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Protocol

from saldo.engine.errors import OutcomeUnknownError, RequestFailedError
from saldo.engine.queue import Queue
from saldo.engine.waiting import Result, Waiting
from saldo.ledger.model import Decision, TransactionRequest
from saldo.observability.batches import BatchReport, SlowBatches, TracedRequest
from saldo.observability.metrics import BATCH_REQUESTS, BATCH_SECONDS, RECONNECTS, RESENDS
from saldo.store.errors import (
    BusyError,
    ClashError,
    ConnectionLostError,
    RejectedError,
    StoreError,
)
from saldo.store.places import Node

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Between attempts to reach the database: soon after it is back, without storming it."""

COLLECT_SHARE = 1.2
"""Of the time the last batch waited for its locks. The others post meanwhile, so the database isn't idle;
less makes smaller batches, more only waits."""

COLLECT_SECONDS_MIN = 0.0005
COLLECT_SECONDS_MAX = 0.05
"""Below, it isn't worth a timer; above, a long wait has another cause than the batches of others."""

_log = logging.getLogger("saldo.engine")


class Posting(Protocol):
    """What a lane needs of its connection (`saldo.store.poster.Poster`)."""

    @property
    def lock_wait_seconds(self) -> float: ...
    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision]: ...
    def abandon(self) -> None: ...
    async def close(self) -> None: ...


Connect = Callable[[int, Node | None], Awaitable[Posting]]
"""Makes the connection of the lane with this number, to a node; None: to the database as it is named."""

Learn = Callable[[int, float], None]
"""Is told of a batch how many were ahead of its oldest request, and for how many seconds that has waited."""

Announce = Callable[[], None]
"""Tells whoever follows the log that a batch has been recorded."""


@dataclass(frozen=True, slots=True)
class LaneLimits:
    """The bounds of a lane; see the settings of the same names."""

    batch_timeout_seconds: float
    slow_seconds: float


class Lane:
    """Takes batches from the queue and sees each of them through."""

    def __init__(
        self,
        number: int,
        connect: Connect,
        queue: Queue,
        limits: LaneLimits,
        announce: Announce,
        learn: Learn,
        tracing: Tracing | None,
    ) -> None:
        self._number = number
        self._connect = connect
        self._queue = queue
        self._limits = limits
        self._announce = announce
        self._learn = learn
        self._tracing = tracing
        self._slow = SlowBatches(limits.slow_seconds)
        self._poster: Posting | None = None
        self._node: Node | None = None
        """What it is connected to, or was the last time."""
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begins to work; the connection is made when the first batch needs it."""
        self._task = asyncio.create_task(self._work(), name=f"lane {self._number}")

    async def stop(self, seconds: float) -> None:
        """Finishes what the closed queue still has, for at most so long; then gives up."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def _work(self) -> None:
        number = self._queue.join()
        while (batch := await self._queue.take(number)) is not None:
            try:
                await self._go_to(batch.node)
                await self._see_through(batch.waiting)
                await self._collect(sum(len(waiting.requests) for waiting in batch.waiting))
            except _AwayError:
                self._queue.rest(batch)
                continue
            except asyncio.CancelledError:
                _expire(batch.waiting)
                self._queue.release(batch)
                raise
            except Exception:
                _log.exception("a batch failed in a way nobody foresaw")
                _expire(batch.waiting)
                self._drop_connection()
            self._queue.release(batch)

    async def _collect(self, answered: int) -> None:
        """Lets the next batch grow while the batches of other processes hold the shards anyway.

        Sent at once, a small batch would stand in the queue for the locks and could not grow there; many
        processes would chop each other's batches. Those just answered are likely to ask again, and soon. The
        lane keeps its groups meanwhile.
        """
        if self._poster is None:
            return
        seconds = COLLECT_SHARE * self._poster.lock_wait_seconds
        self._queue.contended = seconds >= COLLECT_SECONDS_MIN
        if self._queue.contended:
            expected = answered + self._queue.requests
            await self._queue.grown(expected, min(seconds, COLLECT_SECONDS_MAX))

    async def _see_through(self, batch: list[Waiting]) -> None:
        """Sends the batch until each request of it is decided or past its deadline."""
        backoff = BACKOFF_SECONDS_MIN
        while batch := [waiting for waiting in batch if not waiting.over]:
            try:
                await self._post(batch)
                return  # noqa: TRY300 - an else would hide that this ends the loop
            except ClashError:
                RESENDS.inc()
                continue  # the next pass sees what the other batch recorded
            except RejectedError as error:
                await self._bisect(batch, error)
                return
            except (ConnectionLostError, BusyError) as error:
                _log.warning("lane %d: %s; sending again", self._number, error)
                if isinstance(error, ConnectionLostError):
                    self._drop_connection()
                if self._queue.one_group:
                    RESENDS.inc()
                    raise _AwayError from error
            RESENDS.inc()
            # Jitter, so that the lanes of many processes don't come back all at once.
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
            backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)

    async def _bisect(self, batch: list[Waiting], error: StoreError) -> None:
        """Finds the poisoned request: it fails alone, its neighbours are posted."""
        if len(batch) > 1:
            middle = len(batch) // 2
            await self._see_through(batch[:middle])
            await self._see_through(batch[middle:])
            return
        (waiting,) = batch
        if len(waiting.requests) > 1 and not waiting.atomic:
            await self._split(waiting)
            return
        _log.error("the database rejects a request: %s", error)
        # "Nothing was recorded" is true of this attempt; of one that was lost it is not known.
        failure = OutcomeUnknownError() if waiting.sent else RequestFailedError()
        _decide(waiting, [failure] * len(waiting.requests))

    async def _split(self, waiting: Waiting) -> None:
        middle = len(waiting.requests) // 2
        results: list[Result] = []
        for requests in (waiting.requests[:middle], waiting.requests[middle:]):
            part = waiting.part(requests)
            await self._see_through([part])
            await asyncio.sleep(0)  # it is handed out in the next turn
            if not part.decided.done():  # nobody waits for the whole any more
                return
            results += part.decided.result()
        _decide(waiting, results)

    async def _post(self, batch: list[Waiting]) -> None:
        taken_at = time.monotonic()
        if self._poster is None:
            self._poster = await self._connect(self._number, self._node)
            RECONNECTS.inc()
        retried = [waiting.sent for waiting in batch]
        for waiting in batch:
            waiting.sent = True
        requests = [request for waiting in batch for request in waiting.requests]
        sent_at = time.monotonic()
        call = asyncio.ensure_future(self._poster.post(requests, atomic=batch[0].atomic))
        with BATCH_SECONDS.time():
            # Not a time-out of the driver's: that sends a cancel request, and a cancel ends a
            # commit's wait for the standby with "done".
            done, _ = await asyncio.wait([call], timeout=self._limits.batch_timeout_seconds)
        if not done:
            self._drop_connection()
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                await call
            raise ConnectionLostError("no answer to a batch in time")
        BATCH_REQUESTS.observe(len(requests))
        try:
            decisions = call.result()
        except (ClashError, BusyError, RejectedError):
            # Nothing of this attempt was recorded, so what is known of earlier ones stays.
            for waiting, before in zip(batch, retried, strict=True):
                waiting.sent = before
            raise
        # Later in this turn of the loop: the next batch goes to the database first, and not after all who are
        # answered now have written their answers.
        oldest = min(batch, key=attrgetter("queued_at"))
        if not oldest.atomic:  # those wait for each other only
            self._learn(oldest.ahead, time.monotonic() - oldest.queued_at)
        report = BatchReport(
            self._number,
            len(requests),
            oldest.queued_at,
            *(taken_at, sent_at, time.monotonic()),
            self._poster.lock_wait_seconds,
        )
        asyncio.get_running_loop().call_soon(self._hand_out, batch, retried, decisions, report)

    def _hand_out(
        self,
        batch: list[Waiting],
        retried: list[bool],
        decisions: list[Decision],
        report: BatchReport,
    ) -> None:
        begin = 0
        for waiting, again in zip(batch, retried, strict=True):
            end = begin + len(waiting.requests)
            results: list[Result] = list(decisions[begin:end])
            if again:
                # What we learn by sending again after a lost connection is our own doing.
                results = [decision._replace(replayed=False) for decision in decisions[begin:end]]
            _decide(waiting, results)
            begin = end
        self._announce()
        self._slow.look_at(report)
        if self._tracing is not None:
            traced = [
                TracedRequest(waiting.trace, waiting.queued_at)
                for waiting in batch
                if waiting.trace is not None
            ]
            self._tracing.batch(traced, report)

    async def _go_to(self, node: Node | None) -> None:
        if node != self._node and self._poster is not None:
            await self._poster.close()
            self._poster = None
        self._node = node

    def _drop_connection(self) -> None:
        if self._poster is not None:
            self._poster.abandon()
            self._poster = None


class _AwayError(Exception):
    """The shard of a batch could not be reached; those of other shards needn't wait for it."""


def _decide(waiting: Waiting, results: list[Result]) -> None:
    if not waiting.decided.done():
        waiting.decided.set_result(results)


def _expire(batch: list[Waiting]) -> None:
    for waiting in batch:
        waiting.expire()
