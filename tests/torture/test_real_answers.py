"""Real answers and events of the service, given to the checker: all are valid, and every kind of answer occurs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import replace
from random import Random
from time import monotonic
from typing import Any
from uuid import uuid4

import asyncpg
import httpx

from saldo.events.event import EventEncoder
from saldo.ledger.model import SHARDS
from saldo.store.connections.connection import DatabaseConnection
from saldo.store.log import Log
from tests.torture.corruptions import alter_event, drop_event, lose_the_last
from tests.torture.simulation import START
from torture.checker import FindingKind, check
from torture.history import (
    Account,
    Call,
    Delivery,
    Evidence,
    KindName,
    ListTransactions,
    Operation,
    Post,
    ReadBalance,
    ReadTransaction,
)

CLIENTS = 5
CALLS = 40


class Client:
    """One client, which makes random calls one after the other and records them."""

    def __init__(self, api: httpx.AsyncClient, number: int, users: list[int]) -> None:
        self._api = api
        self._number = number
        self._users = users
        self._random = Random(number)
        self.operations: list[Operation] = []

    async def run(self, sent: list[Post]) -> None:
        for _ in range(CALLS):
            call = self._choose(sent)
            invoked = monotonic()
            status, body, replayed = await self._make(call)
            self.operations.append(
                Operation(self._number, invoked, monotonic(), call, status, body, replayed)
            )

    def _choose(self, sent: list[Post]) -> Call:
        user_id = self._random.choice(self._users)
        date = START.replace(minute=self._random.randrange(60)).isoformat()
        chance = self._random.random()
        if chance < 0.5 or not sent:
            kind: KindName = self._random.choice(("DEPOSIT", "WITHDRAW"))
            given = self._random.choice((date, None))
            post = Post(str(uuid4()), user_id, kind, str(self._random.randint(1, 9)), given)
            sent.append(post)
            return post
        post = self._random.choice(sent)
        return self._random.choice(
            (
                post,
                Post(post.uuid, post.user_id, post.type, "10", post.timestamp),
                ReadTransaction(post.uuid, post.user_id),
                ReadTransaction(str(uuid4()), user_id),
                ReadBalance(user_id),
                ReadBalance(user_id, date),
                ListTransactions(user_id, self._random.randint(1, 9)),
            )
        )

    async def _make(self, call: Call) -> tuple[int, Mapping[str, Any], bool]:
        match call:
            case Post():
                return await self._post(call)
            case ReadBalance(user_id=user_id, date=date):
                query = {} if date is None else {"date": date}
                answer = await self._api.get(f"/v1/user/{user_id}/balance", params=query)
            case ReadTransaction(uuid=uuid):
                answer = await self._api.get(f"/v1/transaction/{uuid}")
            case ListTransactions(user_id=user_id, limit=limit):
                path = f"/v1/user/{user_id}/transactions"
                answer = await self._api.get(path, params={"limit": limit})
        return answer.status_code, answer.json(), False

    async def _post(self, post: Post) -> tuple[int, Mapping[str, Any], bool]:
        fields: dict[str, Any] = {
            "uuid": post.uuid,
            "user_id": post.user_id,
            "type": post.type,
            "amount": post.amount,
        }
        if post.timestamp is not None:
            fields["timestamp"] = post.timestamp
        if self._random.random() < 0.7:
            answer = await self._api.post("/v1/transaction", json=fields)
            replayed = answer.headers.get("idempotent-replayed") == "true"
            return answer.status_code, answer.json(), replayed
        answer = await self._api.post("/v1/transactions", json=[fields])
        [line] = json.loads(await answer.aread())
        return line["status"], line, line.get("replayed", False)


async def test_real_answers_pass_the_checker(api: httpx.AsyncClient, database_url: str) -> None:
    async with asyncpg.create_pool(
        database_url, min_size=1, max_size=1, connection_class=DatabaseConnection
    ) as pool:
        log = Log(pool)
        before = dict.fromkeys(range(SHARDS), 0) | await log.read_last_positions()
        users = [await _create(api) for _ in range(2)]
        evidence = await _run(api, users)
        entries = await log.list_entries_after(before, 10_000)
    encoder = EventEncoder(2)
    events = [json.loads(encoder.encode(entry).body) for entry in entries if entry.user_id in users]
    evidence = replace(evidence, deliveries=[Delivery("log", event) for event in events])

    assert check(evidence).faults == []

    codes = {(one.status, (one.body or {}).get("code")) for one in evidence.operations}
    assert {(200, None), (200, "posted"), (402, "insufficient_funds")} <= codes
    assert {(409, "uuid_conflict"), (404, "transaction_not_found")} <= codes
    assert {one.replayed for one in evidence.operations} == {True, False}
    for corruption, kind in (
        (lose_the_last, FindingKind.LOST),
        (drop_event, FindingKind.EVENT_MISSING),
        (alter_event, FindingKind.EVENT_DIFFERS),
    ):
        corrupted = corruption(evidence, Random(1))
        assert corrupted is not None
        assert kind in {fault.kind for fault in check(corrupted).faults}


async def _create(api: httpx.AsyncClient) -> int:
    answer = await api.post("/v1/user", json={"name": f"user {uuid4()}"})
    return int(answer.json()["id"])


async def _run(api: httpx.AsyncClient, users: list[int]) -> Evidence:
    sent: list[Post] = []
    clients = [Client(api, number, users) for number in range(CLIENTS)]
    await asyncio.gather(*(client.run(sent) for client in clients))
    operations = [operation for client in clients for operation in client.operations]
    accounts = [await _read(api, user_id) for user_id in users]
    return Evidence(operations, accounts, [], ("log",))


async def _read(api: httpx.AsyncClient, user_id: int) -> Account:
    """Read all pages in the order of numbers; the pages themselves are newest first."""
    balance = (await api.get(f"/v1/user/{user_id}/balance")).json()["balance"]
    items: list[dict[str, Any]] = []
    query: dict[str, str] = {"limit": "50"}
    while True:
        page = (await api.get(f"/v1/user/{user_id}/transactions", params=query)).json()
        items += page["items"]
        if page["next_cursor"] is None:
            return Account(user_id, balance, tuple(reversed(items)))
        query["cursor"] = page["next_cursor"]
