"""A lane: one connection that posts for its shards, one batch in flight, the next one collecting.

The batch grows exactly as fast as the database is busy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import random
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

from saldo.engine.errors import (
    DeadlineExceededError,
    EngineError,
    OutcomeUnknownError,
    QueueFullError,
    RequestFailedError,
)
from saldo.ledger.model import Decision, TransactionRequest
from saldo.observability.metrics import (
    BATCH_REQUESTS,
    BATCH_SECONDS,
    QUEUE_REQUESTS,
    RECONNECTS,
    RESENDS,
)
from saldo.store.errors import (
    BusyError,
    ClashError,
    ConnectionLostError,
    RejectedError,
    StoreError,
)

BACKOFF_SECONDS_MIN = 0.05
BACKOFF_SECONDS_MAX = 1.0
"""Between attempts to reach the database: soon after it is back, without storming it."""

_log = logging.getLogger("saldo.engine")


class Posting(Protocol):
    """What a lane needs of its connection (`saldo.store.poster.Poster`)."""

    async def post(self, requests: Sequence[TransactionRequest]) -> list[Decision]: ...
    def abandon(self) -> None: ...
    async def close(self) -> None: ...


@dataclass(slots=True, eq=False)
class Waiting:
    """A request and whoever waits for its decision."""

    request: TransactionRequest
    decided: asyncio.Future[Decision]
    sent: bool = False
    """Whether it may have reached the database in an earlier attempt of ours."""

    def expire(self) -> None:
        """Its deadline has come."""
        self.fail(OutcomeUnknownError() if self.sent else DeadlineExceededError())

    def fail(self, error: EngineError) -> None:
        if not self.decided.done():
            self.decided.set_exception(error)


class Lane:
    """Takes requests, makes batches, sees each of them through."""

    def __init__(
        self,
        number: int,
        connect: Callable[[int], Awaitable[Posting]],
        *,
        batch_requests_max: int,
        batch_timeout_seconds: float,
    ) -> None:
        self._number = number
        self._connect = connect
        self._batch_requests_max = batch_requests_max
        self._batch_timeout_seconds = batch_timeout_seconds
        self._queue: deque[Waiting] = deque()
        self._filled = asyncio.Event()
        self._queued = QUEUE_REQUESTS.labels(str(number))
        self._stopping = False
        self._poster: Posting | None = None
        self._task: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Requests that wait for a batch, given-up ones among them."""
        return len(self._queue)

    def start(self) -> None:
        """Begins to work; the connection is made when the first batch needs it."""
        self._task = asyncio.create_task(self._work(), name=f"lane {self._number}")

    def put(self, waiting: Waiting) -> None:
        """Queues a request. The engine has checked that there is room."""
        self._queue.append(waiting)
        self._filled.set()

    async def stop(self, seconds: float) -> None:
        """Finishes what is queued and in flight, for at most so long; what is left then fails."""
        self._stopping = True
        self._filled.set()
        if self._task is not None:
            await asyncio.wait([self._task], timeout=seconds)
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for waiting in self._queue:
            waiting.fail(QueueFullError())
        self._queue.clear()
        if self._poster is not None:
            await self._poster.close()
            self._poster = None

    async def _work(self) -> None:
        while True:
            if not self._queue:
                if self._stopping:
                    return
                self._filled.clear()
                await self._filled.wait()
                continue
            batch = self._take()
            try:
                await self._see_through(batch)
            except asyncio.CancelledError:
                _expire(batch)
                raise
            except Exception:
                _log.exception("a batch failed in a way nobody foresaw")
                _expire(batch)
                self._drop_connection()

    def _take(self) -> list[Waiting]:
        queue = self._queue
        batch: list[Waiting] = []
        while queue and len(batch) < self._batch_requests_max:
            waiting = queue.popleft()
            if not waiting.decided.done():
                batch.append(waiting)
        return batch

    async def _see_through(self, batch: list[Waiting]) -> None:
        """Sends the batch until each request of it is decided or past its deadline."""
        backoff = BACKOFF_SECONDS_MIN
        while batch := [waiting for waiting in batch if not waiting.decided.done()]:
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
            RESENDS.inc()
            # Jitter, so that the lanes of many processes don't come back all at once.
            await asyncio.sleep(backoff * random.uniform(0.5, 1))  # noqa: S311
            backoff = min(backoff * 2, BACKOFF_SECONDS_MAX)

    async def _bisect(self, batch: list[Waiting], error: StoreError) -> None:
        """Finds the poisoned request: it fails alone, its neighbours are posted."""
        if len(batch) == 1:
            _log.error("the database rejects a request: %s", error)
            # "Nothing was recorded" is true of this attempt; of one that was lost it is not known.
            batch[0].fail(OutcomeUnknownError() if batch[0].sent else RequestFailedError())
            return
        middle = len(batch) // 2
        await self._see_through(batch[:middle])
        await self._see_through(batch[middle:])

    async def _post(self, batch: list[Waiting]) -> None:
        if self._poster is None:
            self._poster = await self._connect(self._number)
            RECONNECTS.inc()
        retried = [waiting.sent for waiting in batch]
        for waiting in batch:
            waiting.sent = True
        call = asyncio.ensure_future(self._poster.post([waiting.request for waiting in batch]))
        with BATCH_SECONDS.time():
            # Not a time-out of the driver's: that sends a cancel request, and a cancel ends a
            # commit's wait for the standby with "done".
            done, _ = await asyncio.wait([call], timeout=self._batch_timeout_seconds)
        if not done:
            self._drop_connection()
            with contextlib.suppress(StoreError, asyncio.CancelledError):
                await call
            raise ConnectionLostError("no answer to a batch in time")
        BATCH_REQUESTS.observe(len(batch))
        self._queued.set(len(self._queue))
        try:
            decisions = call.result()
        except (ClashError, BusyError, RejectedError):
            # Nothing of this attempt was recorded, so what is known of earlier ones stays.
            for waiting, before in zip(batch, retried, strict=True):
                waiting.sent = before
            raise
        for waiting, decision, again in zip(batch, decisions, retried, strict=True):
            if not waiting.decided.done():
                # What we learn by sending again after a lost connection is our own doing.
                waiting.decided.set_result(
                    decision._replace(replayed=False) if again and decision.replayed else decision
                )

    def _drop_connection(self) -> None:
        if self._poster is not None:
            self._poster.abandon()
            self._poster = None


def _expire(batch: list[Waiting]) -> None:
    for waiting in batch:
        waiting.expire()
