"""Many transactions, a few requests: those that wait are sent together, in their order."""

from __future__ import annotations

import os
import random
import time
from collections import deque
from types import TracebackType
from typing import Final
from uuid import UUID

import httpx

from saldo.client.answers import error_of
from saldo.client.asynchronous.connection import AsyncConnection, whole
from saldo.client.asynchronous.running import Condition, Future, Worker, new_future, settle, sleep
from saldo.client.batch import Batch, Item, Settled
from saldo.client.calls import BULK_PATH, NDJSON
from saldo.client.errors import OutcomeUnknownError, SaldoError
from saldo.client.models import Amount, Instant, Posted
from saldo.client.network import in_time, is_lost, was_sent
from saldo.client.requests import Deposit, Request, Withdrawal
from saldo.client.retry import given_up, lost, maybe_done

BATCH_MAX: Final = 1000
"""Of one request: more make each no faster, and what is lost with a connection is sent again."""

OUTSTANDING_MAX: Final = 10_000
"""Accepted and not answered: some megabytes."""


class AsyncWriter:
    """Takes transactions as fast as the service does, and gives a future for the outcome of each.

    Use it as a context: at its end everything is answered. Transactions are posted in the order in which they are
    given; one that is sent again because the service could not decide it in time may come after later ones. After a
    loss of the connection, or a restart of the service, what has no answer is sent again under its uuid.

    The outcome is a `Posted`, or the exception that `post` would have raised.

    Attributes:
        posted: how many were.
        failed: how many were not: refused, wrong, or not decided in time.
    """

    def __init__(
        self,
        connection: AsyncConnection,
        *,
        batch_max: int = BATCH_MAX,
        outstanding_max: int = OUTSTANDING_MAX,
    ) -> None:
        self.posted = 0
        self.failed = 0
        self._process = os.getpid()
        self._connection = connection
        self._batch_max = batch_max
        self._outstanding_max = outstanding_max
        self._outstanding = 0
        self._waiting: deque[Item[Future[Posted]]] = deque()
        self._changed = Condition()
        self._closed = False
        self._broken: BaseException | None = None
        self._worker: Worker | None = None
        self._batch: Batch[Future[Posted]] | None = None

    async def __aenter__(self) -> AsyncWriter:
        if self._worker is not None:
            raise RuntimeError("a writer is used once")
        self._worker = Worker(self._run, "saldo writer")
        return self

    async def __aexit__(
        self,
        type_: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.aclose()

    async def aclose(self) -> None:
        """Takes nothing more, and waits until everything is answered.

        Raises:
            RuntimeError: the writer has ended by a fault of its own; each future that it leaves tells so, too.
                Or it is another process's.
        """
        self._must_be_of_this_process()
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._worker is not None:
            await self._worker.join()
        if self._broken is not None:
            raise RuntimeError("the writer has ended before its time") from self._broken

    async def deposit(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Future[Posted]:
        """Money that comes in; see `post`."""
        return await self.post(Deposit(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def withdraw(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Future[Posted]:
        """Money that goes out; see `post`."""
        return await self.post(Withdrawal(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def post(self, request: Request) -> Future[Posted]:
        """Accepts a transaction. Waits while too many are not answered yet.

        Raises:
            RuntimeError: the writer is not open.
            TypeError, ValueError, OverflowError: the transaction can't be written as JSON; the others go on.
        """
        future: Future[Posted] = new_future()
        item = Item(request, future)
        self._must_be_of_this_process()
        async with self._changed:
            while self._outstanding >= self._outstanding_max and self._accepts():
                await self._changed.wait()
            if not self._accepts():
                raise RuntimeError("the writer is not open") from self._broken
            self._waiting.append(item)
            self._outstanding += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()
        return future

    def _must_be_of_this_process(self) -> None:
        """After a fork nobody would send anything here, and who held the lock then would hold it for ever."""
        if self._process != os.getpid():
            raise RuntimeError("the writer is of the process that made it: make one after the fork")

    def _accepts(self) -> bool:
        return self._worker is not None and not self._closed and self._broken is None

    async def _run(self) -> None:
        try:
            while items := await self._next():
                self._batch = Batch(items, time.monotonic(), self._connection.retries)
                await self._deliver(self._batch)
        except Exception as error:
            await self._break(error)
        except BaseException as error:
            await self._break(error)
            raise

    async def _next(self) -> list[Item[Future[Posted]]]:
        """What is sent next; nothing: that was all."""
        async with self._changed:
            while not self._waiting and not self._closed:
                await self._changed.wait()
            count = min(len(self._waiting), self._batch_max)
            return [self._waiting.popleft() for _ in range(count)]

    async def _deliver(self, batch: Batch[Future[Posted]]) -> None:
        while batch.unanswered:
            error, sent = await self._send(batch)
            pause, settled = batch.ended(error, time.monotonic(), random.random, sent=sent)
            await self._settle(settled)
            if pause:
                await sleep(pause)

    async def _send(self, batch: Batch[Future[Posted]]) -> tuple[SaldoError | None, bool]:
        """One attempt: what has ended it, if not the end of the answer; and whether it may have had an effect."""
        headers = {"content-type": NDJSON}
        timeout = httpx.Timeout(self._connection.retries.attempt_seconds)
        body = batch.attempt()
        try:
            async with self._connection.stream(
                "POST", BULK_PATH, headers, timeout, body=body
            ) as response:
                if response.status_code != 200:
                    refused = error_of(await whole(response, batch.deadline))
                    return refused, maybe_done(refused)
                async for data in response.aiter_bytes():
                    await self._settle(batch.take(data, time.monotonic()))
                    in_time(batch.deadline)
        except httpx.RequestError as error:
            if not is_lost(error):
                raise
            return lost(error), was_sent(error)
        except SaldoError as error:
            return error, True
        return None, True

    async def _settle(self, settled: list[Settled[Future[Posted]]]) -> None:
        if not settled:
            return
        for future, outcome in settled:
            if isinstance(outcome, Posted):
                self.posted += 1
            else:
                self.failed += 1
            settle(future, outcome)
        async with self._changed:
            self._outstanding -= len(settled)
            self._changed.notify_all()

    async def _break(self, error: BaseException) -> None:
        """Nothing is sent any more: nobody must wait for ever."""
        async with self._changed:
            # At once: what is accepted after a look at `_broken` must be among those that are left.
            self._broken = error
            left = [] if self._batch is None else list(self._batch.unanswered)
            left += self._waiting
            self._waiting.clear()
            self._changed.notify_all()
        unknown = OutcomeUnknownError(f"the writer has ended: {type(error).__name__}: {error}")
        unknown.__cause__ = error
        settled = [
            Settled(each.future, given_up(unknown, "it", each.request.uuid, unknown=False))
            for each in left
            if not each.future.done()
        ]
        await self._settle(settled)
