"""Promises of bulk requests: `POST /v1/transactions`."""

from __future__ import annotations

import asyncio
import json
import random
import signal
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit
from uuid import uuid4

import httpx
import pytest

from harness.program.service import ServiceProcess, run_service_process
from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.ledger.model import SHARDS
from tests.acceptance.api.test_contract import MALFORMED, balance, body, create_user

NDJSON_TYPE = "application/x-ndjson"
NDJSON = {"content-type": NDJSON_TYPE}


async def post_lines(api: httpx.AsyncClient, lines: list[str | bytes]) -> list[dict[str, Any]]:
    content = b"\n".join(line.encode() if isinstance(line, str) else line for line in lines)
    answer = await api.post("/v1/transactions", content=content, headers=NDJSON)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


async def test_every_line_is_answered_as_a_post_of_it_alone(api: httpx.AsyncClient) -> None:
    user_id, twin = await create_user(api), await create_user(api)
    replayed = body(user_id, "DEPOSIT", "1")
    asked = [
        body(user_id, "DEPOSIT", "10"),
        replayed,
        replayed,
        replayed | {"amount": "2"},
        body(user_id, "WITHDRAW", "11.01"),
        body(user_id, "WITHDRAW", "0.01"),
        body(10**12, "DEPOSIT", "1"),
        body(user_id, "DEPOSIT", "1", timestamp="2150-01-01"),
    ]
    outcomes = await post_lines(api, [json.dumps(item) for item in asked])
    assert [(item["status"], item["code"]) for item in outcomes] == [
        (200, "posted"),
        (200, "posted"),
        (200, "posted"),
        (409, "uuid_conflict"),
        (402, "insufficient_funds"),
        (200, "posted"),
        (404, "user_not_found"),
        (422, "timestamp_in_future"),
    ]
    assert [item["line"] for item in outcomes] == list(range(1, 9))
    assert [item.get("replayed") for item in outcomes[:3]] == [False, False, True]
    assert outcomes[3]["differing_fields"] == ["amount"]
    for item, outcome in zip(asked, outcomes, strict=True):
        assert outcome["uuid"] == item["uuid"]
        alone = (await api.post("/v1/transaction", json=item)).json()
        if outcome["status"] == 200:
            assert (outcome["balance"], outcome["number"]) == (alone["balance"], alone["number"])
        else:
            assert (outcome["status"], outcome["code"]) == (alone["status"], alone["code"])
            assert outcome["detail"] == alone["detail"]
    assert await balance(api, user_id) == "10.99"
    assert await balance(api, twin) == "0.00"


async def test_bad_line_gets_an_error_and_the_rest_is_posted(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    bad = [(content, field) for content, field in MALFORMED if content and "\n" not in content]
    lines: list[str | bytes] = []
    for content, _ in bad:
        lines += [content, json.dumps(body(user_id, "DEPOSIT", "1"))]
    lines += [b'{"uuid": "\xff"}', b"x" * 70_000, json.dumps(body(user_id, "DEPOSIT", "1"))]
    outcomes = await post_lines(api, lines)
    assert [item["line"] for item in outcomes] == list(range(1, len(lines) + 1))
    for outcome, (content, field) in zip(outcomes[::2], bad, strict=False):
        assert outcome["status"] == 422, content[:200]
        assert field in [error["field"] for error in outcome["errors"]], content[:200]
    assert {outcome["code"] for outcome in outcomes[1 : 2 * len(bad) : 2]} == {"posted"}
    assert [item["status"] for item in outcomes[-3:]] == [422, 413, 200]
    assert await balance(api, user_id) == f"{len(bad) + 1}.00"


async def test_empty_lines_are_numbered_but_not_answered(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    line = json.dumps(body(user_id, "DEPOSIT", "1"))
    assert [item["line"] for item in await post_lines(api, ["", line + "\r", " ", line, ""])] == [
        2,
        4,
    ]
    assert await post_lines(api, []) == []


async def test_transactions_of_one_user_are_posted_in_the_order_of_the_stream(
    api: httpx.AsyncClient,
) -> None:
    users = [await create_user(api) for _ in range(7)]
    items = []
    for _ in range(300):
        for user in users:
            items += [body(user, "DEPOSIT", "1"), body(user, "WITHDRAW", "1")]
    outcomes = await post_lines(api, [json.dumps(item) for item in items])
    assert {outcome["status"] for outcome in outcomes} == {200}
    numbers = [item["number"] for item in outcomes]
    assert numbers == [n + half for n in range(1, 600, 2) for _ in users for half in (0, 1)]


async def test_answer_lines_contain_no_other_line_separators(api: httpx.AsyncClient) -> None:
    """Send names with line separators of Unicode, and check that the answer repeats none of them."""
    outcomes = await post_lines(api, ['{"a\u2028b\u0085c": 1}', '{"z\u2029": 1}'])
    names = [[error["field"] for error in outcome["errors"]] for outcome in outcomes]
    assert [given[0] for given in names] == ["a\ufffdb\ufffdc", "z\ufffd"]


async def test_an_array_is_answered_like_a_stream_or_as_an_array(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    items: list[Any] = [body(user_id, "DEPOSIT", "1"), 5, body(user_id, "WITHDRAW", "9")]
    answer = await api.post("/v1/transactions", json=items)
    assert answer.headers["content-type"] == "application/json"
    lines = answer.json()
    assert [(line["line"], line["status"]) for line in lines] == [(1, 200), (2, 422), (3, 402)]
    again = await api.post("/v1/transactions", json=items, headers={"accept": NDJSON_TYPE})
    assert again.headers["content-type"] == NDJSON_TYPE
    replayed = [json.loads(line).get("replayed") for line in again.text.splitlines()]
    assert replayed == [True, None, True]
    odd = await api.post("/v1/transactions", json=items, headers={"accept": "a;q=inf, b;q=1e400"})
    assert (odd.status_code, odd.json()[0]["replayed"]) == (200, True)
    unfit: tuple[Any, ...] = ([], {}, [items[0]] * 5001)
    for wrong in unfit:
        refused = await api.post("/v1/transactions", json=wrong)
        assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "body")


async def test_all_or_nothing(api: httpx.AsyncClient) -> None:
    # All users but the last are of one shard, because a distributed ledger posts no more than that atomically.
    rich, *_, poor = [await create_user(api) for _ in range(SHARDS + 1)]
    path = "/v1/transactions?atomic=true"
    good = [body(rich, "DEPOSIT", "5"), body(rich, "WITHDRAW", "2"), body(poor, "DEPOSIT", "2")]
    for replayed in (False, True):
        lines = (await api.post(path, json=good)).json()
        assert [line["replayed"] for line in lines] == [replayed] * 3
    assert (await balance(api, rich), await balance(api, poor)) == ("3.00", "2.00")

    unknown = body(rich + SHARDS * 10**10, "DEPOSIT", "1")
    for wrong, status, code in (
        (body(poor, "WITHDRAW", "2.01"), 402, "insufficient_funds"),
        (unknown, 404, "user_not_found"),
        (good[0] | {"amount": "6"}, 409, "uuid_conflict"),
        (body(poor, "DEPOSIT", "1", timestamp="2150-01-01"), 422, "timestamp_in_future"),
    ):
        items = [body(rich, "DEPOSIT", "1"), wrong, body(poor, "DEPOSIT", "1")]
        problem = await api.post(path, json=items)
        assert (problem.status_code, problem.json()["code"]) == (status, code)
        assert (problem.json()["item"], problem.json()["uuid"]) == (1, wrong["uuid"])
        for item in items:
            if item["uuid"] != good[0]["uuid"]:
                assert (await api.get(f"/v1/transaction/{item['uuid']}")).status_code == 404
    assert (await balance(api, rich), await balance(api, poor)) == ("3.00", "2.00")
    # The refused transaction was not recorded, so its uuid can be posted later, when there are funds.
    late = body(poor, "WITHDRAW", "3")
    assert (await api.post(path, json=[late])).status_code == 402
    await api.post("/v1/transaction", json=body(poor, "DEPOSIT", "1"))
    assert (await api.post(path, json=[late])).status_code == 200

    invalid = await api.post(path, json=[good[0], {**good[1], "amount": "x"}, 5])
    fields = [error["field"] for error in invalid.json()["errors"]]
    assert (invalid.status_code, fields) == (422, ["[1].amount", "[2].body"])


@pytest.mark.parametrize(
    ("query", "headers", "status", "field"),
    [
        ("?atomic=yes", {}, 422, "atomic"),
        ("?atomic=true&atomic=true", {}, 422, "atomic"),
        ("?atomc=true", {}, 422, "atomc"),
        ("?atomic=true", NDJSON, 422, "atomic"),
        ("", {"content-type": "text/csv"}, 415, "Content-Type"),
    ],
)
async def test_invalid_bulk_requests_are_rejected(
    api: httpx.AsyncClient, query: str, headers: dict[str, str], status: int, field: str
) -> None:
    answer = await api.post(
        f"/v1/transactions{query}",
        content="[]",
        headers={"content-type": "application/json"} | headers,
    )
    assert answer.status_code == status
    assert field in [error["field"] for error in answer.json()["errors"]]


async def test_too_large_array_gets_413(database_url: str) -> None:
    async with run_service(
        create_settings(database_url, array_bytes_max=1000), database_url
    ) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            answer = await client.post("/v1/transactions", json=["x" * 1000])
            assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")


class Connection:
    """A client that controls when it sends and when it reads."""

    def __init__(self, url: str) -> None:
        address = urlsplit(url)
        assert address.hostname is not None
        assert address.port is not None
        self.socket = socket.create_connection((address.hostname, address.port), timeout=60)
        self.socket.sendall(
            b"POST /v1/transactions HTTP/1.1\r\nhost: localhost\r\n"
            b"Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n"
        )

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def send(self, data: bytes) -> None:
        self.socket.sendall(b"%x\r\n%s\r\n" % (len(data), data))

    def end(self) -> None:
        self.socket.sendall(b"0\r\n\r\n")

    def outcomes(self) -> Iterator[dict[str, Any]]:
        """Yield the lines of the answer until it ends or breaks off."""
        with self.socket.makefile("rb") as answer:
            assert b" 200 " in answer.readline()
            while answer.readline() != b"\r\n":
                pass
            begun = b""
            while size := int(answer.readline() or b"0", 16):
                *lines, begun = (begun + answer.read(size)).split(b"\n")
                answer.readline()
                yield from map(json.loads, lines)


def _lines(user_ids: list[int], count: int) -> list[dict[str, Any]]:
    return [body(random.choice(user_ids), "DEPOSIT", "1.00") for _ in range(count)]


def _encode_lines(items: list[dict[str, Any]]) -> bytes:
    return b"".join(json.dumps(item).encode() + b"\n" for item in items)


def _create_users(running: ServiceProcess, count: int) -> list[int]:
    with httpx.Client(base_url=running.url) as client:
        return [
            client.post("/v1/user", json={"name": str(uuid4())}).json()["id"] for _ in range(count)
        ]


def _balances(running: ServiceProcess, users: list[int]) -> float:
    with httpx.Client(base_url=running.url) as client:
        return sum(
            float(client.get(f"/v1/user/{user}/balance").json()["balance"]) for user in users
        )


def _peak_memory_mb(pid: int) -> int:
    status = Path(f"/proc/{pid}/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) // 1024


def test_client_that_reads_only_at_the_end_needs_no_more_memory(
    tmp_path: Path,
) -> None:
    with run_service_process(tmp_path) as running:
        users = _create_users(running, 50)
        before = _peak_memory_mb(running.process.pid)
        with Connection(running.url) as connection:
            for _ in range(100):
                connection.send(_encode_lines(_lines(users, 1000)))
            connection.end()
            outcomes = list(connection.outcomes())
        assert [outcome["line"] for outcome in outcomes] == list(range(1, 100_001))
        assert {outcome["code"] for outcome in outcomes} == {"posted"}
        assert _balances(running, users) == 100_000
        assert _peak_memory_mb(running.process.pid) - before < 60


def test_a_stream_cut_anywhere_can_be_sent_again(tmp_path: Path) -> None:
    chance = random.Random(7)
    with run_service_process(tmp_path) as running:
        users = _create_users(running, 20)
        items = _lines(users, 5000)
        content = _encode_lines(items)
        answered: set[str] = set()
        for _ in range(12):
            with Connection(running.url) as connection:
                # The cut is mostly within a line, which must never be taken for a complete one.
                end = chance.randrange(len(content))
                connection.send(content[:end])
                whole = content.count(b"\n", 0, end)
                outcomes = connection.outcomes()
                for _ in range(chance.randint(0, whole)):
                    outcome = next(outcomes)
                    assert outcome["code"] == "posted"
                    answered.add(outcome["uuid"])
            with httpx.Client(base_url=running.url) as client:
                for uuid in chance.sample(sorted(answered), min(5, len(answered))):
                    assert client.get(f"/v1/transaction/{uuid}").status_code == 200
        with Connection(running.url) as connection:
            connection.send(content)
            connection.end()
            again = list(connection.outcomes())
        assert [outcome["uuid"] for outcome in again] == [item["uuid"] for item in items]
        assert {outcome["code"] for outcome in again} == {"posted"}
        replayed = {outcome["uuid"] for outcome in again if outcome["replayed"]}
        assert answered <= replayed
        assert _balances(running, users) == 5000


def test_stopping_service_ends_a_stream_with_a_503_line(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        users = _create_users(running, 5)
        with Connection(running.url) as connection:
            connection.send(_encode_lines(_lines(users, 3000)))
            outcomes = connection.outcomes()
            answered = [next(outcomes) for _ in range(10)]
            running.process.send_signal(signal.SIGTERM)
            answered += outcomes
        assert [outcome["line"] for outcome in answered] == list(range(1, len(answered) + 1))
        assert (answered[-1]["status"], answered[-1]["code"]) == (503, "overloaded")
        assert running.process.wait(60) == 0
    with run_service_process(tmp_path) as running, httpx.Client(base_url=running.url) as client:
        for outcome in answered[:-1]:
            assert client.get(f"/v1/transaction/{outcome['uuid']}").status_code == 200


async def test_stream_beyond_the_limit_is_rejected_until_another_one_ends(
    database_url: str,
) -> None:
    settings = create_settings(database_url, key_streams_max=1)
    async with run_service(settings, database_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            user_id = await create_user(api)
            item = body(user_id, "DEPOSIT", "1")
            begun, ends = asyncio.Event(), asyncio.Event()

            async def lines() -> AsyncIterator[bytes]:
                yield json.dumps(item).encode() + b"\n"
                begun.set()
                await ends.wait()

            async def send(content: Any) -> httpx.Response:
                return await api.post("/v1/transactions", content=content, headers=NDJSON)

            first = asyncio.ensure_future(send(lines()))
            await begun.wait()
            refused = await send(json.dumps(body(user_id, "DEPOSIT", "2")))
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert "SALDO_KEY_STREAMS_MAX" in refused.json()["detail"]
            assert refused.headers["retry-after"] == "1"
            ends.set()
            assert (await first).status_code == 200
            space = app.service.bulk_handler._spool_space
            space.reserve("anyone", settings.process_spool_bytes_max // 2)
            refused = await send(json.dumps(body(user_id, "DEPOSIT", "4")))
            assert (refused.status_code, refused.json()["code"]) == (503, "overloaded")
            assert "SALDO_PROCESS_SPOOL_BYTES_MAX" in refused.json()["detail"]
            space.release("anyone", settings.process_spool_bytes_max // 2)
            assert (await send(json.dumps(body(user_id, "DEPOSIT", "8")))).status_code == 200
            assert await balance(api, user_id) == "9.00"
