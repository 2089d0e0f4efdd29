# Made of `saldo.client.asynchronous` by `python -m tests.client.twin`: change that, not this.
"""Execution of the actions of `saldo.client.retry` with httpx."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar, cast

import httpx

from saldo.client.endpoints import NO_QUERY, Call, Query
from saldo.client.responses import Response
from saldo.client.retry import NoResponse, Reply, Retries, Send, retry_steps
from saldo.client.synchronous.concurrency import sleep, within
from saldo.client.transport_errors import (
    PROXY_NOTE,
    add_proxy_to_message,
    check_deadline,
    is_transport_failure,
    may_have_been_sent,
)

T = TypeVar("T")

CALLS: Final = httpx.Limits(max_connections=100, max_keepalive_connections=20)
"""Limits of the connection pool for calls. Further concurrent calls wait for a connection."""

NOTE: Final = "saldo.note"
"""Key in `response.extensions`. Its value is appended to error messages about responses that do not come from Saldo."""

STREAM_LIMITS: Final = httpx.Limits(max_connections=None, max_keepalive_connections=0)
"""Limits of the connection pool for streams. Each open stream holds a connection, so with a maximum the next
stream could wait for ever."""


class Connection:
    """The connections of one client to a service, with its timeouts.

    Attributes:
        http: The connection pool for calls. After a fork, each process has its own pool.
        streams: The connection pool for endless responses. After a fork, each process has its own pool.
    """

    def __init__(
        self,
        create_http_client: Callable[[httpx.Limits], httpx.Client],
        retries: Retries,
        proxy: str | None = None,
    ) -> None:
        """
        Args:
            create_http_client: Creates an httpx client with the given limits.
            proxy: The environment variable that names the proxy of the requests, for error messages; None if there is
                no proxy.
        """
        self.retries = retries
        self.proxy = proxy
        self._create_http_client = create_http_client
        self._process = os.getpid()
        self._http, self._streams = create_http_client(CALLS), create_http_client(STREAM_LIMITS)
        self._closed = False
        self._inherited: list[httpx.Client] = []

    @property
    def http(self) -> httpx.Client:
        self._renew_after_fork()
        return self._http

    @property
    def streams(self) -> httpx.Client:
        self._renew_after_fork()
        return self._streams

    def close(self) -> None:
        """Close the connections. Those inherited through a fork stay open, because the parent process may still use
        them."""
        http, streams = self.http, self.streams
        self._closed = True
        http.close()
        streams.close()

    def _renew_after_fork(self) -> None:
        """Replace the connections after a fork: two processes on one socket would read each other's responses."""
        process = os.getpid()
        if self._process == process or self._closed:
            return
        # The inherited clients are kept. Closing them would shut down connections that the parent process still uses.
        self._inherited += [self._http, self._streams]
        self._http, self._streams = (
            self._create_http_client(CALLS),
            self._create_http_client(STREAM_LIMITS),
        )
        self._process = process

    def call(self, call: Call[T]) -> T:
        """Return the result of a call. The number of attempts is decided by `retry_steps`.

        Raises:
            SaldoError: The call has failed; see `saldo.client.errors`.
        """
        steps = retry_steps(call, self.retries, time.monotonic, random.random)
        reply: Reply = None
        while True:
            try:
                step = steps.send(reply)
            except StopIteration as ended:
                return cast(T, ended.value)
            if isinstance(step, Send):
                reply = self._send(call, step)
            else:
                sleep(step.seconds)
                reply = None

    def _send(self, call: Call[Any], step: Send) -> Response | NoResponse:
        headers = {} if call.body is None else {"content-type": call.content_type}
        if self._closed:
            return NoResponse(
                RuntimeError("the client has been closed"), may_have_been_sent=False, is_final=True
            )
        deadline = time.monotonic() + step.seconds_max
        patience = httpx.Timeout(step.seconds)
        try:
            with (
                within(step.seconds_max),
                self.stream(
                    call.method, call.path, headers, patience, call.query, call.body
                ) as response,
            ):
                return read_response(response, deadline)
        except TimeoutError as error:
            return NoResponse(error, may_have_been_sent=True)
        except Exception as error:
            # All exceptions are caught, because the transaction may have been recorded and the caller must get its
            # uuid.
            return NoResponse(
                error, may_have_been_sent(error), is_final=not is_transport_failure(error)
            )

    @contextmanager
    def stream(
        self,
        method: str,
        path: str,
        headers: Mapping[str, str],
        patience: httpx.Timeout,
        query: Query = NO_QUERY,
        body: bytes | None = None,
        *,
        endless: bool = False,
    ) -> Iterator[httpx.Response]:
        """Send one request, and yield the response before its body is read.

        Args:
            patience: The timeouts of the network.
            endless: Whether the response has no end. Its connection then comes from `streams`, and not from the pool
                for calls.
        """
        http = self.streams if endless else self.http
        try:
            with http.stream(
                method, path, params=query or None, content=body, headers=headers, timeout=patience
            ) as response:
                if self.proxy is not None:
                    response.extensions[NOTE] = f" ({PROXY_NOTE.format(self.proxy)})"
                yield response
        except httpx.TransportError as error:
            if self.proxy is None:
                raise
            raise add_proxy_to_message(error, self.proxy) from error


def read_response(response: httpx.Response, deadline: float) -> Response:
    """Read the whole body of a response.

    Raises:
        httpx.ReadTimeout: The body was not complete by the deadline.
    """
    pieces = []
    for piece in response.iter_bytes():
        pieces.append(piece)
        check_deadline(deadline)
    note = response.extensions.get(NOTE, "")
    return Response(response.status_code, response.headers, b"".join(pieces), note)
