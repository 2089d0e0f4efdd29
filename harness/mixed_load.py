"""A mixed load of all kinds of requests, for as long as a test or a screenshot needs it."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from uuid import uuid4

import httpx

PACE_SECONDS = 0.02
"""Pause between the rounds of a client, in seconds: the load needs variety, not volume."""


@contextmanager
def run_load(
    url: str, *, clients: int = 2, users: int = 20, pace_seconds: float = PACE_SECONDS
) -> Iterator[list[int]]:
    """Run a mixed load while the block runs, and yield the ids of its users.

    Some clients post, retry and read transactions, and some of their requests are refused. One client follows the live
    stream.

    The clients continue whatever the answers are, and also if there is no answer.

    Args:
        pace_seconds: pause between the rounds of a client.
    """
    with httpx.Client(base_url=url) as client:
        user_ids = [
            client.post("/v1/user", json={"name": f"user {uuid4()}"}).json()["id"]
            for _ in range(users)
        ]
    stopping = threading.Event()
    threads = [
        threading.Thread(target=_repeat, args=(url, user_ids, stopping, pace_seconds))
        for _ in range(clients)
    ]
    threads.append(threading.Thread(target=_follow, args=(url, stopping)))
    for thread in threads:
        thread.start()
    try:
        yield user_ids
    finally:
        stopping.set()
        for thread in threads:
            thread.join(60)
            assert not thread.is_alive()


def post(client: httpx.Client, user_id: int, amount: str, **fields: str) -> httpx.Response:
    """Post one transaction, a deposit by default."""
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "user_id": user_id, "amount": amount}
    return client.post("/v1/transaction", json=body | fields)


def _repeat(url: str, user_ids: list[int], stopping: threading.Event, pace_seconds: float) -> None:
    with httpx.Client(base_url=url, timeout=15) as client:
        while not stopping.wait(pace_seconds):
            with suppress(httpx.TransportError):
                _ask_everything(client, random.choice(user_ids))


def _ask_everything(client: httpx.Client, user_id: int) -> None:
    uuid = str(uuid4())
    post(client, user_id, "10.00", uuid=uuid)
    post(client, user_id, "10.00", uuid=uuid)  # a replay
    post(client, user_id, "11.00", uuid=uuid)  # a conflict
    post(client, user_id, "7.00", type="WITHDRAW")
    post(client, user_id, "1000000000.00", type="WITHDRAW")  # insufficient funds
    post(client, 2**62, "1.00")  # no such user
    array = [
        {"uuid": str(uuid4()), "type": "DEPOSIT", "user_id": user_id, "amount": "1.00"}
        for _ in range(5)
    ]
    client.post("/v1/transactions", json=array)
    client.get(f"/v1/user/{user_id}/balance")
    client.get(f"/v1/user/{user_id}/balance", params={"date": "2024-01-01T00:00:00Z"})
    client.get(f"/v1/transaction/{uuid}")
    client.get("/v1/transactions", params={"limit": "10"})
    client.get(f"/v1/user/{user_id}/transactions", params={"limit": "10"})
    client.get("/nothing/here")
    # Without a key, only names of this machine are accepted: 403.
    client.get(f"/v1/user/{user_id}/balance", headers={"host": "elsewhere.example"})


def _follow(url: str, stopping: threading.Event) -> None:
    with httpx.Client(base_url=url, timeout=15) as client:
        while not stopping.wait(PACE_SECONDS):
            with suppress(httpx.TransportError), client.stream("GET", "/v1/events") as answer:
                for _ in answer.iter_lines():
                    if stopping.is_set():
                        return
