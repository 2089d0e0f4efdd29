"""Carries out what `saldo.client.retry` wants done: with httpx."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

import httpx

from saldo.client.answers import Answer
from saldo.client.asynchronous.running import sleep
from saldo.client.calls import NO_QUERY, Call, Query
from saldo.client.network import is_lost, was_sent
from saldo.client.retry import Lost, Reply, Retries, Send, attempts

T = TypeVar("T")


class AsyncConnection:
    """The service, as one client reaches it: a pool of connections, and how patient it is."""

    def __init__(self, http: httpx.AsyncClient, retries: Retries) -> None:
        self.http = http
        self.retries = retries

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
                reply = await self._send(call, step.seconds)
            else:
                await sleep(step.seconds)
                reply = None

    async def _send(self, call: Call[Any], seconds: float) -> Answer | Lost:
        headers = {} if call.body is None else {"content-type": call.content_type}
        try:
            response = await self.http.request(
                call.method,
                call.path,
                params=call.query or None,
                content=call.body,
                headers=headers,
                timeout=seconds,
            )
        except httpx.TransportError as error:
            if not is_lost(error):
                raise
            return Lost(error, was_sent(error))
        return Answer(response.status_code, response.headers, response.content)

    @asynccontextmanager
    async def stream(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        patience: httpx.Timeout,
        query: Query = NO_QUERY,
        body: bytes | None = None,
    ) -> AsyncIterator[httpx.Response]:
        """One attempt at an answer that comes in pieces."""
        async with self.http.stream(
            method, path, params=query or None, content=body, headers=headers, timeout=patience
        ) as response:
            yield response


async def whole(response: httpx.Response) -> Answer:
    """An answer that turns out to be none in pieces."""
    return Answer(response.status_code, response.headers, await response.aread())
