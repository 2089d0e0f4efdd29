"""Promises to subscribers of the live stream, `GET /v1/events`."""

from __future__ import annotations

import asyncio
import json
import random
import re
import signal
from collections import defaultdict
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.events.subscribers import Subscriber
from harness.openapi_document import Document
from harness.prerequisites import find_program, skip_or_fail
from harness.program.service import ServiceProcess, run_service_process
from saldo.events.position import format_position, parse_log_position
from saldo.ledger.model import SHARDS

NDJSON = {"content-type": "application/x-ndjson"}
POSTED, REFUSED, CREATED = (
    "saldo.transaction.posted",
    "saldo.transaction.refused",
    "saldo.user.created",
)


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    directory = tmp_path_factory.mktemp("events")
    with run_service_process(directory, SALDO_EVENTS_HEARTBEAT_SECONDS="0.2") as started:
        yield started


class Ledger:
    """A client that posts transactions and knows the events that must follow."""

    def __init__(self, url: str) -> None:
        self.client = httpx.AsyncClient(base_url=url, timeout=60)
        self.uuids: dict[tuple[int, int], str] = {}
        """The uuid by user and number."""

    async def __aenter__(self) -> Ledger:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.client.aclose()

    async def users(self, count: int) -> list[int]:
        answers = [
            await self.client.post("/v1/user", json={"name": f"user {uuid4()}"})
            for _ in range(count)
        ]
        return [answer.json()["id"] for answer in answers]

    async def post(self, users: list[int], type_: str = "DEPOSIT", amount: str = "1") -> None:
        """Post a transaction for each user."""
        items = [
            {"uuid": str(uuid4()), "type": type_, "amount": amount, "user_id": user}
            for user in users
        ]
        content = "\n".join(map(json.dumps, items))
        answer = await self.client.post("/v1/transactions", content=content, headers=NDJSON)
        for item, line in zip(items, answer.text.splitlines(), strict=True):
            outcome = json.loads(line)
            self.uuids[int(str(item["user_id"])), outcome["number"]] = str(item["uuid"])

    async def metric(self, name: str) -> int:
        text = (await self.client.get("/metrics")).text
        found = re.search(rf"^{name} (\S+)$", text, re.MULTILINE)
        assert found is not None, name
        return int(float(found[1]))


class Seen:
    """The events that one client has received over all its connections."""

    def __init__(self) -> None:
        self.ids: dict[tuple[int, int], str] = {}
        self.again = 0

    def add(self, event: dict[str, Any]) -> None:
        """Check that an event is in order per user within a connection, and identical if it is repeated."""
        data = event["data"]
        key = (data.get("user_id", data["id"] if event["type"] == CREATED else 0), data["number"])
        self.again += key in self.ids
        assert self.ids.setdefault(key, event["id"]) == event["id"]


async def test_stream_begins_with_an_id_and_has_headers_for_proxies(
    shared_service: ServiceProcess,
) -> None:
    async with Ledger(shared_service.url) as ledger:
        (user,) = await ledger.users(1)
        async with Subscriber(shared_service.url) as subscriber:
            assert subscriber.headers["content-type"] == "text/event-stream; charset=utf-8"
            assert subscriber.headers["cache-control"] == "no-store, no-transform"
            assert subscriber.headers["x-accel-buffering"] == "no"
            assert (await subscriber.block()).retry
            assert (await subscriber.block()).id
        # Events from before the first one that was read are not lost.
        await ledger.post([user])
        async with Subscriber(shared_service.url, last_id=subscriber.last_id) as resumed:
            (event,) = await resumed.take(1)
        assert event["id"] == ledger.uuids[user, 1]
        assert (event["type"], event["subject"]) == (POSTED, str(user))
        recorded = (await ledger.client.get(f"/v1/transaction/{event['id']}")).json()
        assert recorded.items() <= event["data"].items()


async def test_filters_by_user_and_type(shared_service: ServiceProcess) -> None:
    async with Ledger(shared_service.url) as ledger:
        async with Subscriber(shared_service.url) as marking:
            await marking.block()
            begin = (await marking.block()).id
        one, two, other = await ledger.users(3)
        await ledger.post([one, two, other])
        await ledger.post([one, two, other], "WITHDRAW", "5")
        everything = {(user, n) for user in (one, two, other) for n in (0, 1, 2)}
        for query, expected in (
            ("", everything),
            (f"user_id={one}", {(one, 0), (one, 1), (one, 2)}),
            (f"user_id={one},{two}&type={POSTED}", {(one, 1), (two, 1)}),
            (f"user_id={one}&user_id={two}&type={REFUSED}", {(one, 2), (two, 2)}),
            (f"type={CREATED},{REFUSED}", {key for key in everything if key[1] != 1}),
            (f"type={POSTED}&type={POSTED}", {key for key in everything if key[1] == 1}),
        ):
            seen = Seen()
            async with Subscriber(shared_service.url, query, begin) as subscriber:
                for event in await subscriber.take(len(expected)):
                    seen.add(event)
            assert (set(seen.ids), seen.again) == (expected, 0), query


async def test_live_filters(shared_service: ServiceProcess) -> None:
    async with Ledger(shared_service.url) as ledger, AsyncExitStack() as stack:
        one, two = await ledger.users(2)
        subscribers = {
            query: await stack.enter_async_context(Subscriber(shared_service.url, query))
            for query in ("", f"user_id={one}", f"user_id={one}&type={REFUSED}", f"type={POSTED}")
        }
        # The block that is read in between is the second id: after it the subscriber is live, or will be soon.
        for subscriber in subscribers.values():
            await subscriber.block()
            await subscriber.block()
        await ledger.post([one, two])
        await ledger.post([one, two], "WITHDRAW", "5")
        found = {
            query: {
                (int(event["subject"]), event["data"]["number"])
                for event in await subscriber.take(count)
            }
            for (query, subscriber), count in zip(subscribers.items(), (4, 2, 1, 2), strict=True)
        }
        assert list(found.values()) == [
            {(one, 1), (one, 2), (two, 1), (two, 2)},
            {(one, 1), (one, 2)},
            {(one, 2)},
            {(one, 1), (two, 1)},
        ]


async def test_start_positions(shared_service: ServiceProcess) -> None:
    async with Ledger(shared_service.url) as ledger:
        (user,) = await ledger.users(1)
        for _ in range(3):
            await ledger.post([user])
        async with Subscriber(shared_service.url, f"user_id={user}&from=start") as subscriber:
            events = await subscriber.take(4)
        assert [event["data"]["number"] for event in events] == [0, 1, 2, 3]
        time = events[2]["time"].replace("+", "%2B")
        async with Subscriber(shared_service.url, f"user_id={user}&from={time}") as subscriber:
            later = await subscriber.take(2)
        assert later == events[2:]
        ids = []
        async with Subscriber(shared_service.url, f"user_id={user}") as subscriber:
            for number in (4, 5):
                await ledger.post([user])
                (event,) = await subscriber.take(1)
                assert event["data"]["number"] == number
                ids.append(subscriber.last_id)
        # The header takes precedence over the parameter, and the parameter over `from`.
        for query, header, expected in (
            (f"from={ids[0]}", "", 5),
            (f"last_event_id={ids[0]}&from=start", "", 5),
            (f"last_event_id={ids[1]}&from=start", ids[0], 5),
            ("from=start&last_event_id=", "", 0),
        ):
            async with Subscriber(
                shared_service.url, f"user_id={user}&{query}", header
            ) as subscriber:
                (event,) = await subscriber.take(1)
            assert event["data"]["number"] == expected


async def test_resume_from_every_position_of_the_past(shared_service: ServiceProcess) -> None:
    async with Ledger(shared_service.url) as ledger:
        users = await ledger.users(5)
        for query in ("user_id=" + ",".join(map(str, users)), ""):
            places: list[tuple[str, int]] = []
            events: list[dict[str, Any]] = []
            async with Subscriber(shared_service.url, query) as subscriber:
                await subscriber.block()
                places.append(((await subscriber.block()).id, 0))
                for _ in range(20):
                    await ledger.post(random.choices(users, k=3))
                while len(events) < 60:
                    block = await subscriber.block()
                    events += [] if block.data is None else [block.data]
                    if block.id != places[-1][0]:
                        places.append((block.id, len(events)))
            for place, count in places[: places.index((block.id, 60))]:
                async with Subscriber(shared_service.url, query, place) as resumed:
                    again = await resumed.take(60 - count)
                assert {event["id"] for event in again} == {event["id"] for event in events[count:]}


@pytest.mark.parametrize("filtered", [False, True])
async def test_a_hundred_disconnects_while_posting_goes_on(
    shared_service: ServiceProcess, filtered: bool
) -> None:
    chance = random.Random(11)
    async with Ledger(shared_service.url) as ledger:
        users = await ledger.users(12)
        followed = users[:4] if filtered else users
        query = "user_id=" + ",".join(map(str, followed)) if filtered else ""
        seen = Seen()
        done = asyncio.Event()

        async def post() -> None:
            while not done.is_set():
                await ledger.post(chance.choices(users, k=chance.randint(1, 60)))

        async def follow(last_id: str, count: int) -> str:
            """Read `count` blocks and then disconnect, mostly while more is on its way."""
            async with Subscriber(shared_service.url, query, last_id) as subscriber:
                latest: dict[str, int] = {}
                for _ in range(count):
                    block = await subscriber.block()
                    if block.data is not None and int(block.data["subject"]) in followed:
                        seen.add(block.data)
                        number = block.data["data"]["number"]
                        before = latest.get(block.data["subject"], number - 1)
                        assert number == before + 1, "a gap within a connection"
                        latest[block.data["subject"]] = number
            return subscriber.last_id

        last_id = await follow("", 2)
        posting = asyncio.create_task(post())
        try:
            for _ in range(100):
                last_id = await follow(last_id, chance.randint(0, 100))
        finally:
            done.set()
            await posting
        expected = {key: uuid for key, uuid in ledger.uuids.items() if key[0] in followed}
        async with Subscriber(shared_service.url, query, last_id) as subscriber:
            while not expected.keys() <= seen.ids.keys():
                (event,) = await subscriber.take(1)
                if int(event["subject"]) in followed:
                    seen.add(event)
        assert {key: seen.ids[key] for key in expected} == expected
        numbers: dict[int, list[int]] = defaultdict(list)
        for user, number in seen.ids:
            numbers[user].append(number)
        for found in numbers.values():
            assert sorted(found) == list(range(min(found), max(found) + 1))


async def test_a_thousand_subscribers_each_get_everything(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        async with Ledger(running.url) as ledger, AsyncExitStack() as stack:
            users = await ledger.users(10)

            async def subscribe(number: int) -> Subscriber:
                user = users[number % len(users)]
                query = f"user_id={user}" if number % 2 else ""
                subscriber = Subscriber(running.url, query)
                await subscriber.__aenter__()
                stack.push_async_exit(subscriber)
                await subscriber.block()
                await subscriber.block()
                return subscriber

            subscribers = await asyncio.gather(*(subscribe(number) for number in range(1000)))
            assert await ledger.metric("saldo_events_subscribers") == 1000
            for _ in range(10):
                await ledger.post(users * 2)
            expected = set(ledger.uuids.values())
            per_user = {
                user: [ledger.uuids[user, number] for number in range(1, 21)] for user in users
            }

            async def check(number: int, subscriber: Subscriber) -> None:
                ids = [event["id"] for event in await subscriber.take(20 if number % 2 else 200)]
                if number % 2:
                    assert ids == per_user[users[number % len(users)]]
                else:
                    assert set(ids) == expected

            await asyncio.gather(*(check(*each) for each in enumerate(subscribers)))
            await stack.aclose()
            while await ledger.metric("saldo_events_subscribers"):
                pass
            assert await ledger.metric("saldo_events_subscribers_dropped_total") == 0


async def test_slow_subscriber_is_dropped_and_can_resume(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_EVENTS_BUFFER_BYTES_MAX="65536") as running:
        async with Ledger(running.url) as ledger:
            users = await ledger.users(20)
            seen = Seen()
            async with (
                Subscriber(running.url, f"type={POSTED}", receive_bytes=4096) as slow,
                Subscriber(running.url, f"type={POSTED}", receive_bytes=4096) as gone,
                Subscriber(running.url, f"user_id={users[0]}&type={POSTED}") as quick,
            ):
                quick_before = asyncio.create_task(quick.take(1))
                while await ledger.metric("saldo_events_subscribers_dropped_total") < 2:
                    await ledger.post(users * 50)
                comments = []
                async for block in slow.blocks():
                    comments += block.comments
                    if block.data is not None:
                        seen.add(block.data)
                assert comments == ["too slow; resume with Last-Event-ID"]
                await quick_before
                # The connection of a client that never reads is cut, too.
                while await ledger.metric("saldo_events_subscribers") > 1:
                    await asyncio.sleep(0.05)
                with pytest.raises(ConnectionError):
                    await gone.comments()
            assert len(seen.ids) < len(ledger.uuids)
            async with Subscriber(running.url, f"type={POSTED}", slow.last_id) as resumed:
                while len(seen.ids) < len(ledger.uuids):
                    seen.add((await resumed.take(1))[0])
            assert seen.ids == ledger.uuids


async def test_subscriber_that_reads_no_past_events_is_dropped(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_EVENTS_WRITE_TIMEOUT_SECONDS="0.2") as running:
        async with Ledger(running.url) as ledger:
            users = await ledger.users(20)
            for _ in range(20):
                await ledger.post(users * 50)
            async with Subscriber(running.url, "from=start", receive_bytes=4096) as slow:
                while not await ledger.metric("saldo_events_subscribers_dropped_total"):
                    await asyncio.sleep(0.05)
                assert (await slow.comments())[-1] == "too slow; resume with Last-Event-ID"


async def test_heartbeats_advance_the_id_over_filtered_events(
    shared_service: ServiceProcess,
) -> None:
    async with Ledger(shared_service.url) as ledger:
        (user,) = await ledger.users(1)
        neighbour = user
        while neighbour % SHARDS != user % SHARDS or neighbour == user:
            (neighbour,) = await ledger.users(1)
        async with Subscriber(shared_service.url, f"user_id={user}") as subscriber:
            await subscriber.block()
            begin = (await subscriber.block()).id
            await ledger.post([neighbour])
            block = await subscriber.block()
            while block.id == begin:
                assert block.data is None
                block = await subscriber.block()
            assert block.data is None
        (seq,) = parse_log_position(block.id).positions.values()
        async with Subscriber(
            shared_service.url, f"user_id={neighbour}&from={begin}"
        ) as subscriber:
            (event,) = await subscriber.take(1)
        assert event["data"]["seq"] <= seq


async def test_stop_ends_all_streams_with_a_comment(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        async with Ledger(running.url) as ledger:
            users = await ledger.users(2)
            async with (
                Subscriber(running.url) as one,
                Subscriber(running.url, f"user_id={users[0]}&from=start") as two,
            ):
                await two.take(1)
                running.process.send_signal(signal.SIGTERM)
                farewell = "the service is stopping; resume with Last-Event-ID"
                assert (await one.comments())[-1] == farewell
                assert (await two.comments())[-1] == farewell
                assert await asyncio.to_thread(running.process.wait, 60) == 0


async def test_stop_does_not_wait_for_subscribers_that_do_not_read(tmp_path: Path) -> None:
    with run_service_process(
        tmp_path, SALDO_SHUTDOWN_TIMEOUT_SECONDS="3600", SALDO_EVENTS_WRITE_TIMEOUT_SECONDS="3600"
    ) as running:
        async with Ledger(running.url) as ledger:
            users = await ledger.users(20)
            for _ in range(20):
                await ledger.post(users * 50)
            async with (
                Subscriber(running.url, "from=start", receive_bytes=4096),
                Subscriber(running.url, "from=start") as quick,
            ):
                await quick.take(20_000)
                running.process.send_signal(signal.SIGTERM)
                assert await asyncio.to_thread(running.process.wait, 60) == 0


async def test_posts_of_one_worker_reach_subscribers_of_all(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_WORKERS="2") as running:
        async with Ledger(running.url) as ledger, AsyncExitStack() as stack:
            users = await ledger.users(5)
            subscribers = [
                await stack.enter_async_context(
                    Subscriber(running.url, f"type={POSTED}&user_id={','.join(map(str, users))}")
                )
                for _ in range(8)
            ]
            for subscriber in subscribers:
                await subscriber.block()
                await subscriber.block()
            assert await ledger.metric("saldo_events_subscribers") == 8
            for _ in range(8):
                # Each iteration has its own connection, so both workers are reached.
                async with Ledger(running.url) as another:
                    await another.post(users)
                    ledger.uuids |= another.uuids
            for subscriber in subscribers:
                seen = Seen()
                for event in await subscriber.take(40):
                    seen.add(event)
                assert (seen.ids, seen.again) == (ledger.uuids, 0)


async def test_subscribers_beyond_the_limit_are_rejected(tmp_path: Path) -> None:
    with run_service_process(tmp_path, SALDO_EVENTS_SUBSCRIBERS_MAX="2") as running:
        async with Subscriber(running.url), Subscriber(running.url) as second:
            async with Subscriber(running.url) as third:
                assert (third.status, third.headers["retry-after"]) == (503, "1")
                assert (await third.body())["code"] == "overloaded"
            await second.__aexit__(None, None, None)
            status = 0
            while status != 200:
                async with Subscriber(running.url) as another:
                    status = another.status


async def test_invalid_stream_requests_are_rejected(shared_service: ServiceProcess) -> None:
    async with Subscriber(shared_service.url) as subscriber:
        await subscriber.block()
        known = (await subscriber.block()).id
    epoch, positions = parse_log_position(known)
    past = format_position(epoch, {shard: seq + 1000 for shard, seq in positions.items()})
    other = format_position(bytes(8), positions)
    one_user = format_position(epoch, {1: 0})
    async with httpx.AsyncClient(base_url=shared_service.url) as client:
        document = Document((await client.get("/openapi.json")).json())
        for query, header, status, field in (
            ("from=yesterday", "", 422, "from"),
            ("from=", "", 422, "from"),
            (f"from={known[:-3]}", "", 422, "from"),
            (f"last_event_id={known[:-1]}", "", 422, "last_event_id"),
            ("last_event_id=start", "", 422, "last_event_id"),
            ("from=start", "42", 422, "Last-Event-ID"),
            ("from=start", f"{known}x", 422, "Last-Event-ID"),
            ("from=start", one_user, 422, "Last-Event-ID"),
            ("user_id=2", one_user, 422, "Last-Event-ID"),
            ("", past, 410, None),
            (f"last_event_id={other}", "", 410, None),
            ("user_id=0", "", 422, "user_id"),
            ("user_id=1,", "", 422, "user_id"),
            ("user_id=", "", 422, "user_id"),
            ("user_id=9223372036854775808", "", 422, "user_id"),
            ("user_id=" + ",".join(map(str, range(1, 102))), "", 422, "user_id"),
            ("type=DEPOSIT", "", 422, "type"),
            ("type=", "", 422, "type"),
            ("from=now&from=now", "", 422, "from"),
            ("last_event_id=x&last_event_id=x", "", 422, "last_event_id"),
            ("form=start", "", 422, "form"),
        ):
            headers = {"last-event-id": header} if header else {}
            answer = await client.get(f"/v1/events?{query}", headers=headers)
            assert answer.status_code == status, query
            document.check(answer)
            if field is None:
                assert answer.json()["code"] == "position_gone"
                assert "from=" in answer.json()["detail"]
            else:
                assert field in [error["field"] for error in answer.json()["errors"]], query
        # A position of all users is valid for some of them, too.
        async with Subscriber(shared_service.url, "user_id=1", known) as subscriber:
            assert subscriber.status == 200


async def test_the_how_to_s_javascript_follows_with_a_key(
    shared_service: ServiceProcess, tmp_path: Path
) -> None:
    """Run the client of the how-to page: a browser's EventSource can't send a key."""
    node = find_program("node", "node")
    if node is None:
        skip_or_fail("node", "node is not installed")
    page = (Path(__file__).parents[3] / "docs/howto/live-events.md").read_text("utf-8")
    code = page.partition("```js\n")[2].partition("```")[0].partition("\nfollow(")[0]
    script = tmp_path / "follow.mjs"
    async with Ledger(shared_service.url) as ledger:
        (user,) = await ledger.users(1)
        await ledger.post([user, user])
        url = json.dumps(f"{shared_service.url}/v1/events?user_id={user}&from=start")
        script.write_text(
            f"{code}\nfollow({url}, 'key', (type, event) => console.log(type, event.data.number));",
            "utf-8",
        )
        process = await asyncio.create_subprocess_exec(
            node, str(script), stdout=asyncio.subprocess.PIPE
        )
        try:
            assert process.stdout is not None
            told = [(await process.stdout.readline()).decode() for _ in range(3)]
            assert told == [f"{CREATED} 0\n", f"{POSTED} 1\n", f"{POSTED} 2\n"]
            await ledger.post([user])
            assert (await process.stdout.readline()).decode() == f"{POSTED} 3\n"
        finally:
            process.kill()
            await process.wait()
