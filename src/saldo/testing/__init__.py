"""For the tests of who uses the client: a Saldo in memory, behind a transport of httpx.

    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("Artem")
        client.deposit(user.id, 100)

It decides by the executable specification of the service's own rules (`saldo.ledger.specification`) and reads
requests with the service's own reader; a test asks both the same. It has users, balances, transactions, one and
many. It has no events, proofs, webhooks and keys, no transaction log, metrics and OpenAPI document: it answers 501,
`not_faked`, to those, which is an `UnexpectedAnswerError`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from saldo.client import AsyncClient, Client, Retries
from saldo.ledger.model import Limits
from saldo.testing.service import Service

__all__ = ["FakeSaldo"]

AT_ONCE: Final = Retries(pause_seconds=0.0, pause_seconds_max=0.0)
"""Patience for tests: no pauses."""


class FakeSaldo:
    """A ledger in memory, and what may go wrong on the way to it.

    Attributes:
        now: what the ledger's clock says; None: the machine's time.
        requests: how many have come.
        transport: give it to a client of your own.
    """

    def __init__(self, *, decimals: int = 2, limits: Limits | None = None) -> None:
        """
        Args:
            decimals: of the currency.
            limits: the rules that an operator can set.
        """
        self.now: datetime | None = None
        self.requests = 0
        self.transport: Final = httpx.MockTransport(self._handle)
        self._service = Service(decimals, limits or Limits())
        self._mishaps: deque[Callable[[httpx.Request], httpx.Response]] = deque()
        self._lock = threading.Lock()

    def client(self, *, retries: Retries = AT_ONCE) -> Client:
        """A client of it."""
        return Client("http://saldo.test", retries=retries, transport=self.transport)

    def async_client(self, *, retries: Retries = AT_ONCE) -> AsyncClient:
        """A client of it for asyncio."""
        return AsyncClient("http://saldo.test", retries=retries, transport=self.transport)

    def lose_requests(self, count: int = 1) -> None:
        """The next requests don't reach it: there is no connection."""
        self._mishaps.extend([self._lose_request] * count)

    def lose_answers(self, count: int = 1) -> None:
        """The next requests are processed, and the connection breaks before the answer."""
        self._mishaps.extend([self._lose_answer] * count)

    def overload(self, count: int = 1) -> None:
        """The next requests are answered 503, `overloaded`: nothing is recorded."""
        self._mishaps.extend([self._overloaded] * count)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            mishap: Any = self._mishaps.popleft() if self._mishaps else self._answer
            response: httpx.Response = mishap(request)
            return response

    def _answer(self, request: httpx.Request) -> httpx.Response:
        return self._service.answer(request, self.now or datetime.now(UTC))

    def _lose_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("the fake is not reached", request=request)

    def _lose_answer(self, request: httpx.Request) -> httpx.Response:
        self._answer(request)
        raise httpx.ReadError("the fake's answer is lost", request=request)

    def _overloaded(self, request: httpx.Request) -> httpx.Response:
        return self._service.overloaded()
