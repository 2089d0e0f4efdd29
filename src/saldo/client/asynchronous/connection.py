"""Carries out what `saldo.client.retry` wants done: with httpx."""

from __future__ import annotations

import os
import random
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar, cast

import httpx

from saldo.client.answers import Answer
from saldo.client.asynchronous.running import sleep, within
from saldo.client.calls import NO_QUERY, Call, Query
from saldo.client.network import in_time, is_lost, was_sent
from saldo.client.retry import Lost, Reply, Retries, Send, attempts

T = TypeVar("T")

CALLS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
"""More calls at once wait for one of these."""

STREAMS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""Each open stream has a connection for as long as it is followed: with a limit the next would wait for ever."""


class AsyncConnection:
    """The service, as one client reaches it: pools of connections, and how patient it is.

    Attributes:
        http: for calls. streams: for what doesn't end. Each process has its own: after a fork these are others.
    """

    def __init__(self, make: Callable[[httpx.Limits], httpx.AsyncClient], retries: Retries) -> None:
        """
        Args:
            make: a client of httpx with such a pool.
        """
        self.retries = retries
        self._make = make
        self._process = os.getpid()
        self._http, self._streams = make(CALLS), make(STREAMS)
        self._closed = False
        self._inherited: list[httpx.AsyncClient] = []

    @property
    def http(self) -> httpx.AsyncClient:
        self._be_of_this_process()
        return self._http

    @property
    def streams(self) -> httpx.AsyncClient:
        self._be_of_this_process()
        return self._streams

    async def aclose(self) -> None:
        """Closes the connections, those of this process."""
        http, streams = self.http, self.streams
        self._closed = True
        await http.aclose()
        await streams.aclose()

    def _be_of_this_process(self) -> None:
        """Two processes on one socket read each other's answers."""
        process = os.getpid()
        if self._process == process or self._closed:
            return
        # Kept: closing them says goodbye to the service, on connections that the other process goes on using.
        self._inherited += [self._http, self._streams]
        self._http, self._streams = self._make(CALLS), self._make(STREAMS)
        self._process = process

    async def ask(self, call: Call[T]) -> T:
        """The result of a call, after as many attempts as it takes.

        Raises:
            SaldoError: see `saldo.client.errors`.
        """
        steps = attempts(call, self.retries, time.monotonic, random.random)
        reply: Reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as ended:
                return cast(T, ended.value)
            if isinstance(step, Send):
                reply = await self._send(call, step)
            else:
                await sleep(step.seconds)
                reply = None

    async def _send(self, call: Call[Any], step: Send) -> Answer | Lost:
        headers = {} if call.body is None else {"content-type": call.content_type}
        if self._closed:
            return Lost(RuntimeError("the client has been closed"), sent=False, final=True)
        deadline = time.monotonic() + step.seconds_max
        patience = httpx.Timeout(step.seconds)
        try:
            async with (
                within(step.seconds_max),
                self.stream(
                    call.method, call.path, headers, patience, call.query, call.body
                ) as response,
            ):
                return await whole(response, deadline)
        except TimeoutError as error:
            return Lost(error, sent=True)
        except Exception as error:
            # Whatever it is: what was sent may have been recorded, and who called must learn under which uuid.
            return Lost(error, was_sent(error), final=not is_lost(error))

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        patience: httpx.Timeout,
        query: Query = NO_QUERY,
        body: bytes | None = None,
        *,
        endless: bool = False,
    ) -> AsyncIterator[httpx.Response]:
        """One attempt at an answer that comes in pieces.

        Args:
            endless: it is followed for as long as somebody wants.
        """
        http = self.streams if endless else self.http
        async with http.stream(
            method, path, params=query or None, content=body, headers=headers, timeout=patience
        ) as response:
            yield response


async def whole(response: httpx.Response, deadline: float) -> Answer:
    """An answer that is none in pieces.

    Raises:
        httpx.ReadTimeout: it has not ended in time.
    """
    pieces = []
    async for piece in response.aiter_bytes():
        pieces.append(piece)
        in_time(deadline)
    return Answer(response.status_code, response.headers, b"".join(pieces))
