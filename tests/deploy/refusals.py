"""Clients that are rejected in every way that a service has, and count the answers."""

from __future__ import annotations

import socket
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import psycopg

from saldo.store.statements import load_statement

CONNECTIONS_MAX = 24
QUEUE_REQUESTS_MAX = 4
ADMIN_KEY = "an-admin-key-of-the-tests-0123456789"
SETTINGS = {
    "SALDO_ADMIN_KEY": ADMIN_KEY,
    "SALDO_CONNECTIONS_MAX": str(CONNECTIONS_MAX),
    "SALDO_QUEUE_REQUESTS_MAX": str(QUEUE_REQUESTS_MAX),
    "SALDO_REQUEST_DEADLINE_SECONDS": "1",
    # The limits apply to created keys; those of the settings are not limited.
    "SALDO_RATE_REQUESTS_PER_SECOND": "0.001",
    "SALDO_RATE_BURST": "1",
    "SALDO_HEADER_TIMEOUT_SECONDS": "600",  # silent connections stay open
}


class RejectedClients:
    """A client that sends requests and counts the answers by status.

    Attributes:
        answers: the answers of the API by status; `codes`: those with 503 by the problem's code, with `crowded` for
            too many connections.
    """

    def __init__(self, url: str, lock_url: str) -> None:
        """Create a user and keys for the requests.

        Args:
            lock_url: connection string of a role that may lock the shards, so that nothing is decided meanwhile.
        """
        self._url = url
        self._lock_url = lock_url
        self.answers: Counter[int] = Counter()
        self.codes: Counter[str] = Counter()
        # These answers are counted, too, because Prometheus sees every request.
        with self._client(ADMIN_KEY) as client:
            created = self._count(client.post("/v1/user", json={"name": "a"}))
            self._user_id = created.json()["id"]
            self._reader, self._limited = (
                self._count(client.post("/v1/key", json={"name": name, "scopes": ["read"]})).json()[
                    "key"
                ]
                for name in ("reader", "limited")
            )

    def ask(self, count: int) -> None:
        """Send requests of which some are answered and, of each kind, at least `count` are rejected."""
        with self._client(ADMIN_KEY) as client:
            for _ in range(count):
                self._post(client)
        with self._client("no-such-key-0123456789-0123456789") as client:
            for _ in range(count):
                self._count(client.get(self._balance))
        with self._client(self._reader) as client:
            for _ in range(count):
                self._post(client)
        with self._client(self._limited) as client:
            for _ in range(count + 1):
                self._count(client.get(self._balance))
        with self._crowd(), self._client(ADMIN_KEY) as client:
            for _ in range(count):
                self._post(client)
        self._overload(count)

    def _overload(self, count: int) -> None:
        """Let some requests wait until their deadline, so that later ones find the queue full."""
        with psycopg.connect(self._lock_url) as connection, self._client(ADMIN_KEY) as client:
            connection.execute(load_statement("ledger/lock_all_shards"))
            over = self.codes["overloaded"] + count

            def wait() -> None:
                with self._client(ADMIN_KEY) as waiting:
                    self._post(waiting)

            with ThreadPoolExecutor(QUEUE_REQUESTS_MAX) as executor:
                done = [executor.submit(wait) for _ in range(QUEUE_REQUESTS_MAX)]
                while self.codes["overloaded"] < over:
                    self._post(client)
            for each in done:
                each.result()
            connection.rollback()

    @property
    def _balance(self) -> str:
        return f"/v1/user/{self._user_id}/balance"

    def _client(self, key: str) -> httpx.Client:
        return httpx.Client(
            base_url=self._url, timeout=30, headers={"authorization": f"Bearer {key}"}
        )

    def _post(self, client: httpx.Client) -> None:
        body = {"uuid": str(uuid4()), "type": "DEPOSIT", "user_id": self._user_id, "amount": "1"}
        self._count(client.post("/v1/transaction", json=body))

    def _count(self, answer: httpx.Response) -> httpx.Response:
        self.answers[answer.status_code] += 1
        if answer.status_code == 503:
            problem = answer.json()
            crowded = "connections" in problem["detail"]
            self.codes["crowded" if crowded else problem["code"]] += 1
        return answer

    @contextmanager
    def _crowd(self) -> Iterator[None]:
        """Open as many connections as are allowed, and send nothing."""
        address = urlsplit(self._url)
        with ExitStack() as stack:
            for _ in range(CONNECTIONS_MAX):
                stack.enter_context(
                    socket.create_connection((str(address.hostname), address.port or 80))
                )
            yield
