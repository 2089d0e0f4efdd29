"""A fake of Saldo in memory, behind a transport of httpx, for tests of code that uses the client.

    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("customer-4711")
        client.deposit(user.id, 100)

The fake applies the executable specification of the service's rules (`saldo.ledger.specification`), and parses requests
with the service's own parser. One of Saldo's tests compares the fake with the service. The fake supports users,
balances, and single and bulk transactions. It does not support events, proofs, webhooks, keys, the transaction log,
metrics or the OpenAPI document. Requests for these get 501 `not_faked`, which the client raises as
`UnexpectedResponseError`.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final

import httpx

from saldo.client import AsyncClient, Client, Retries
from saldo.ledger.model import LedgerLimits
from saldo.testing.fake_service import FakeService

__all__ = ["FakeSaldo"]

NO_PAUSES: Final = Retries(pause_seconds=0.0, pause_seconds_max=0.0)
"""Retry options for tests, without pauses."""


class FakeSaldo:
    """A ledger in memory, with simulated failures of the network and the service.

    Attributes:
        now: the time of the ledger's clock; None means the machine's time.
        requests: number of received requests.
        transport: the transport, for clients that tests create themselves.
    """

    def __init__(self, *, decimals: int = 2, limits: LedgerLimits | None = None) -> None:
        """
        Args:
            decimals: decimals of the currency.
            limits: the rules that an operator can set.
        """
        self.now: datetime | None = None
        self.requests = 0
        self.transport: Final = httpx.MockTransport(self._handle)
        self._service = FakeService(decimals, limits or LedgerLimits())
        self._failures: deque[Callable[[httpx.Request], httpx.Response]] = deque()
        self._lock = threading.Lock()

    def client(self, *, retries: Retries = NO_PAUSES) -> Client:
        """Return a client of the fake."""
        return Client("http://saldo.test", retries=retries, transport=self.transport)

    def async_client(self, *, retries: Retries = NO_PAUSES) -> AsyncClient:
        """Return an asyncio client of the fake."""
        return AsyncClient("http://saldo.test", retries=retries, transport=self.transport)

    def lose_requests(self, count: int = 1) -> None:
        """Lose the next requests, as if no connection could be opened."""
        self._failures.extend([self._lose_request] * count)

    def lose_responses(self, count: int = 1) -> None:
        """Process the next requests, but break the connection before the response.

        When the client repeats such a request, it takes only a recorded outcome as final. After any other response it
        raises `OutcomeUnknownError`.
        """
        self._failures.extend([self._lose_response] * count)

    def overload(self, count: int = 1) -> None:
        """Answer the next requests with 503 `overloaded`. Nothing is recorded."""
        self._failures.extend([self._overload] * count)

    def _handle(self, request: httpx.Request) -> httpx.Response:
        with self._lock:
            self.requests += 1
            respond: Any = self._failures.popleft() if self._failures else self._respond
            response: httpx.Response = respond(request)
            return response

    def _respond(self, request: httpx.Request) -> httpx.Response:
        return self._service.respond(request, self.now or datetime.now(UTC))

    def _lose_request(self, request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("the fake can't be reached", request=request)

    def _lose_response(self, request: httpx.Request) -> httpx.Response:
        self._respond(request)
        raise httpx.ReadError("the response of the fake is lost", request=request)

    def _overload(self, request: httpx.Request) -> httpx.Response:
        return self._service.build_overloaded_response()
