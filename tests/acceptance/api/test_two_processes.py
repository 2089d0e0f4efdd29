"""Two services on one database: the same users, the same uuids, and nothing done twice."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest

from harness.http_client import Client
from harness.program.service import ServiceProcess
from saldo.store.embedded import EmbeddedServer

ROUNDS = 30
CLIENTS = 40
"""Number of clients of each process; their concurrent requests become a batch or two."""

Answer = tuple[int, Any]

POSTED = (
    "SELECT user_id, count(*), sum(amount) FROM saldo.transactions WHERE kind <> 0 GROUP BY user_id"
)
DEADLOCKS = "SELECT deadlocks FROM pg_stat_database WHERE datname = 'saldo'"


@pytest.fixture
def processes(tmp_path: Path, own_server: EmbeddedServer) -> Iterator[list[ServiceProcess]]:
    """Yield two services started at the same time on an empty database: one migrates it, the other waits."""
    urls = {
        "SALDO_DATABASE_URL": own_server.service_role_url,
        "SALDO_DATABASE_OWNER_URL": own_server.owner_role_url,
    }
    with ExitStack() as stack:
        started = []
        for _ in range(2):
            running = ServiceProcess(tmp_path, **urls)
            stack.callback(running.end)
            started.append(running)
        for running in started:
            running.wait_until_ready()
        yield started
        assert [running.end() for running in started] == [0, 0]


def _body(user_id: int, kind: str, amount: str, uuid: str) -> dict[str, Any]:
    return {"uuid": uuid, "type": kind, "amount": amount, "user_id": user_id}


class Both:
    """The clients of both processes."""

    def __init__(self, processes: list[ServiceProcess]) -> None:
        self._clients = [[Client(running.url) for _ in range(CLIENTS)] for running in processes]

    async def post(self, path: str, *bodies: list[dict[str, Any]]) -> list[list[Answer]]:
        """Send a list of requests to each process, both at once and each in order; return the answers likewise."""
        sent = [
            asyncio.gather(
                *(client.post(path, body) for client, body in zip(clients, own, strict=True))
            )
            for clients, own in zip(self._clients, bodies, strict=True)
        ]
        return [await answers for answers in sent]

    async def get(self, path: str) -> list[Answer]:
        return [await clients[0].get(path) for clients in self._clients]

    async def create_users(self, count: int) -> list[int]:
        created = [
            await self._clients[0][0].post("/v1/user", {"name": str(uuid4())}) for _ in range(count)
        ]
        return [user["id"] for _, user in created]

    def close(self) -> None:
        for clients in self._clients:
            for client in clients:
                client.close()


async def _check_balances(both: Both, own_server: EmbeddedServer, expected: dict[int, int]) -> None:
    """Check the balances in both processes and in the log: the posted entries and their sum, by user."""
    for user_id, balance in expected.items():
        for status, answer in await both.get(f"/v1/user/{user_id}/balance"):
            assert (status, answer["balance"]) == (200, f"{balance}.00")
    with psycopg.connect(own_server.superuser_url.replace("@/postgres", "@/saldo")) as connection:
        assert connection.execute(DEADLOCKS).fetchone() == (0,)


async def test_the_same_uuids_for_different_users_in_opposite_orders(
    processes: list[ServiceProcess], own_server: EmbeddedServer
) -> None:
    both = Both(processes)
    users = await both.create_users(6)
    posted: Counter[int] = Counter()
    for turn in range(ROUNDS):
        uuids = [str(uuid4()) for _ in range(CLIENTS)]
        pair = users[turn % 6], users[(turn + 1 + turn % 5) % 6]
        answers = await both.post(
            "/v1/transaction",
            [_body(pair[0], "DEPOSIT", "1", uuid) for uuid in uuids],
            [_body(pair[1], "DEPOSIT", "1", uuid) for uuid in reversed(uuids)],
        )
        for mine, other in zip(answers[0], reversed(answers[1]), strict=True):
            (won, transaction), (lost, problem) = sorted(
                (mine, other), key=lambda answer: answer[0]
            )
            assert (won, lost) == (200, 409)
            assert (problem["code"], problem["differing_fields"]) == ("uuid_conflict", ["user_id"])
            posted[transaction["user_id"]] += 1
    assert posted.total() == ROUNDS * CLIENTS
    with psycopg.connect(own_server.superuser_url.replace("@/postgres", "@/saldo")) as connection:
        rows = connection.execute(POSTED).fetchall()
    assert {user_id: (entries, total) for user_id, entries, total in rows} == {
        user_id: (count, count * 100) for user_id, count in posted.items()
    }
    await _check_balances(both, own_server, dict(posted))
    both.close()


async def test_the_same_user_is_never_overdrawn_and_a_resend_to_the_other_process_is_a_replay(
    processes: list[ServiceProcess], own_server: EmbeddedServer
) -> None:
    both = Both(processes)
    (user_id,) = await both.create_users(1)
    deposits = [_body(user_id, "DEPOSIT", "1", str(uuid4())) for _ in range(CLIENTS)]
    first, second = await both.post("/v1/transaction", deposits, deposits)
    assert first == second
    assert {status for status, _ in first} == {200}
    withdrawals = [
        [_body(user_id, "WITHDRAW", "1", str(uuid4())) for _ in range(CLIENTS)] for _ in range(2)
    ]
    answers = await both.post("/v1/transaction", *withdrawals)
    statuses = Counter(status for own in answers for status, _ in own)
    assert statuses == {200: CLIENTS, 402: CLIENTS}
    again = await both.post("/v1/transaction", *reversed(withdrawals))
    assert again == list(reversed(answers))
    with psycopg.connect(own_server.superuser_url.replace("@/postgres", "@/saldo")) as connection:
        row = connection.execute(
            "SELECT count(*) FROM saldo.transactions WHERE kind <> 0"
        ).fetchone()
    assert row == (3 * CLIENTS,)
    await _check_balances(both, own_server, {user_id: 0})
    both.close()
