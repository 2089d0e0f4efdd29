"""A writer that posts many transactions in few requests. Queued transactions are sent together, in their order."""

from __future__ import annotations

import os
import random
import time
from collections import deque
from types import TracebackType
from typing import Final
from uuid import UUID

import httpx

from saldo.client.asynchronous.concurrency import (
    Condition,
    Future,
    Worker,
    new_future,
    set_outcome,
    sleep,
)
from saldo.client.asynchronous.connection import AsyncConnection, read_response
from saldo.client.batch import BulkRequest, Item, ItemOutcome
from saldo.client.endpoints import BULK_PATH, NDJSON
from saldo.client.errors import OutcomeUnknownError, SaldoError
from saldo.client.models import Amount, Instant, Posted
from saldo.client.payloads import Deposit, TransactionRequest, Withdrawal
from saldo.client.responses import parse_error
from saldo.client.retry import create_final_error, create_no_response_error, may_have_effect
from saldo.client.transport_errors import check_deadline, is_transport_failure, may_have_been_sent

BATCH_MAX: Final = 1000
"""Maximum number of transactions per request. Larger requests are not faster, and after a lost connection more
transactions would be sent again."""

OUTSTANDING_MAX: Final = 10_000
"""Maximum number of queued and sent transactions without an outcome. They take some megabytes of memory."""


class AsyncWriter:
    """Queues transactions, posts them in batches, and returns a future of the outcome of each.

    Use it as a context manager: on exit, every transaction has its outcome. Transactions are posted in the order in
    which they were queued. There is one exception: a transaction that the service could not decide in time is sent
    again, and may be posted after later ones. After a lost connection or a restart of the service, all transactions
    without an outcome are sent again under their uuids.

    The outcome is a `Posted`, or the exception that `post` would have raised.

    Attributes:
        posted: The number of posted transactions.
        failed: The number of transactions that were refused, invalid, or not decided in time.
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
        self._failure: BaseException | None = None
        self._worker: Worker | None = None
        self._batch: BulkRequest[Future[Posted]] | None = None

    async def __aenter__(self) -> AsyncWriter:
        if self._worker is not None:
            raise RuntimeError("a writer can be used once only: create another one")
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
        """Close the writer for further transactions, and wait until all queued ones have an outcome.

        Raises:
            RuntimeError: The writer has failed, or it belongs to another process. If it has failed, the remaining
                futures get an error, too.
        """
        self._raise_if_forked()
        async with self._changed:
            self._closed = True
            self._changed.notify_all()
        if self._worker is not None:
            await self._worker.join()
        if self._failure is not None:
            raise RuntimeError("the writer ended unexpectedly") from self._failure

    async def deposit(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Future[Posted]:
        """Queue a deposit, and return a future of its outcome; see `post`."""
        return await self.post(Deposit(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def withdraw(
        self,
        user_id: int,
        amount: Amount,
        *,
        timestamp: Instant | None = None,
        uuid: UUID | str | None = None,
    ) -> Future[Posted]:
        """Queue a withdrawal, and return a future of its outcome; see `post`."""
        return await self.post(Withdrawal(user_id, amount, timestamp=timestamp, uuid=uuid))

    async def post(self, request: TransactionRequest) -> Future[Posted]:
        """Queue a transaction, and return a future of its outcome.

        The call waits while `outstanding_max` transactions have no outcome.

        Raises:
            RuntimeError: The writer is not open.
            TypeError, ValueError, OverflowError: The transaction can't be encoded as JSON. Other transactions are not
                affected.
        """
        future: Future[Posted] = new_future()
        item = Item(request, future)
        self._raise_if_forked()
        async with self._changed:
            while self._outstanding >= self._outstanding_max and self._is_accepting():
                await self._changed.wait()
            if not self._is_accepting():
                raise RuntimeError("the writer is not open") from self._failure
            self._waiting.append(item)
            self._outstanding += 1
            if len(self._waiting) == 1:
                self._changed.notify_all()
        return future

    def _raise_if_forked(self) -> None:
        """Raise an error in a process that was forked after the writer was created. There, nothing sends the requests,
        and the lock may be held for ever."""
        if self._process != os.getpid():
            raise RuntimeError(
                "the writer belongs to the process that created it: create a writer after the fork"
            )

    def _is_accepting(self) -> bool:
        return self._worker is not None and not self._closed and self._failure is None

    async def _run(self) -> None:
        try:
            while items := await self._wait_for_batch():
                self._batch = BulkRequest(items, time.monotonic(), self._connection.retries)
                await self._send_until_answered(self._batch)
        except Exception as error:
            await self._fail_unanswered(error)
        except BaseException as error:
            await self._fail_unanswered(error)
            raise

    async def _wait_for_batch(self) -> list[Item[Future[Posted]]]:
        """Return the items of the next request. An empty list means that there are no more."""
        async with self._changed:
            while not self._waiting and not self._closed:
                await self._changed.wait()
            count = min(len(self._waiting), self._batch_max)
            return [self._waiting.popleft() for _ in range(count)]

    async def _send_until_answered(self, batch: BulkRequest[Future[Posted]]) -> None:
        while batch.unanswered:
            error, sent = await self._send_attempt(batch)
            pause, settled = batch.end_attempt(error, time.monotonic(), random.random, sent=sent)
            await self._set_outcomes(settled)
            if pause:
                await sleep(pause)

    async def _send_attempt(
        self, batch: BulkRequest[Future[Posted]]
    ) -> tuple[SaldoError | None, bool]:
        """Make one attempt. Return the error that ended it, if any, and whether the attempt may have had an effect."""
        headers = {"content-type": NDJSON}
        timeout = httpx.Timeout(self._connection.retries.attempt_seconds)
        body = batch.start_attempt()
        try:
            async with self._connection.stream(
                "POST", BULK_PATH, headers, timeout, body=body
            ) as response:
                if response.status_code != 200:
                    refused = parse_error(await read_response(response, batch.deadline))
                    return refused, may_have_effect(refused)
                async for data in response.aiter_bytes():
                    await self._set_outcomes(batch.feed(data, time.monotonic()))
                    check_deadline(batch.deadline)
        except httpx.RequestError as error:
            if not is_transport_failure(error):
                raise
            return create_no_response_error(error), may_have_been_sent(error)
        except SaldoError as error:
            return error, True
        return None, True

    async def _set_outcomes(self, settled: list[ItemOutcome[Future[Posted]]]) -> None:
        if not settled:
            return
        for future, outcome in settled:
            if isinstance(outcome, Posted):
                self.posted += 1
            else:
                self.failed += 1
            set_outcome(future, outcome)
        async with self._changed:
            self._outstanding -= len(settled)
            self._changed.notify_all()

    async def _fail_unanswered(self, error: BaseException) -> None:
        """Fail all transactions without an outcome, so that their callers do not wait for ever."""
        async with self._changed:
            # `_failure` is set under the lock, so that all transactions that were queued before it was set fail here.
            self._failure = error
            left = [] if self._batch is None else list(self._batch.unanswered)
            left += self._waiting
            self._waiting.clear()
            self._changed.notify_all()
        unknown = OutcomeUnknownError(f"the writer has ended: {type(error).__name__}: {error}")
        unknown.__cause__ = error
        settled = [
            ItemOutcome(
                each.future, create_final_error(unknown, "it", each.request.uuid, unknown=False)
            )
            for each in left
            if not each.future.done()
        ]
        await self._set_outcomes(settled)
