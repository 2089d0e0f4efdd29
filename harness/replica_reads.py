"""Reads that a streaming replica may answer, and the servers that answered them."""

from __future__ import annotations

import re
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import uuid4

import httpx

READS: Final = re.compile(r'^saldo_replica_reads_total\{answered_by="(\w+)"\} (\S+)$', re.MULTILINE)
"""Pattern of the samples of the metric that counts these reads, by the server that answered them."""

FIRST: Final = datetime.fromisoformat("2026-01-01T00:00:00+00:00")
ENTRIES: Final = 30
PAGE: Final = 10


class UserClient:
    """Requests of one user, and the servers that answered them."""

    def __init__(self, url: str, user_id: int = 0) -> None:
        self._url = url
        self.user_id = user_id or self._create_user()
        self._reads: dict[str, float] = {}
        self.pop_answering_servers()

    def _create_user(self) -> int:
        found = httpx.post(f"{self._url}/v1/user", json={"name": f"user {uuid4()}"}).json()
        return int(found["id"])

    def post(self, amount: str = "1.00", timestamp: datetime | None = None) -> dict[str, Any]:
        content = {
            "uuid": str(uuid4()),
            "user_id": self.user_id,
            "type": "DEPOSIT",
            "amount": amount,
        }
        if timestamp is not None:
            content["timestamp"] = timestamp.isoformat()
        found: dict[str, Any] = httpx.post(f"{self._url}/v1/transaction", json=content).json()
        return found

    def fill(self) -> list[dict[str, Any]]:
        """Post transactions, some of them late."""
        days = [(7 * n) % ENTRIES for n in range(ENTRIES)]
        return [self.post(f"{n}.00", FIRST + timedelta(days=n)) for n in days if n]

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        answer = httpx.get(f"{self._url}{path}", params=query, timeout=60)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def balance(self, **query: Any) -> str:
        return str(self.get(f"/v1/user/{self.user_id}/balance", **query)["balance"])

    def chart(self) -> dict[str, Any]:
        """Return the console's chart of a period that ends before now."""
        bounds = {"from": FIRST.timestamp(), "to": (FIRST + timedelta(days=60)).timestamp()}
        return self.get(f"/console/users/{self.user_id}/chart", **bounds)

    def list(self, **query: Any) -> dict[str, Any]:
        return self.get(f"/v1/user/{self.user_id}/transactions", limit=PAGE, **query)

    def pop_answering_servers(self) -> set[str]:
        """Return the servers that have answered reads which a replica may answer, since the last call."""
        found = {who: float(n) for who, n in READS.findall(httpx.get(f"{self._url}/metrics").text)}
        since = {who for who, n in found.items() if n > self._reads.get(who, 0)}
        self._reads = found
        return since


def read_requests(user_id: int, seq: int) -> list[tuple[str, dict[str, Any]]]:
    """Return a request of each kind that a replica may answer."""
    user, date = f"/v1/user/{user_id}", FIRST + timedelta(days=11)
    known = (FIRST + timedelta(days=90)).isoformat()
    return [
        (f"{user}/transactions", {}),
        (f"{user}/transactions", {"limit": PAGE, "type": "DEPOSIT", "from": date.isoformat()}),
        (f"{user}/transactions", {"limit": PAGE, "known_at": known}),
        (f"{user}/balance", {"date": date.isoformat()}),
        (f"{user}/balance", {"date": date.isoformat(), "known_at": known}),
        ("/v1/transactions", {"shard": user_id % 64, "after": seq, "limit": PAGE}),
        ("/v1/transactions", {"shard": user_id % 64}),
    ]
