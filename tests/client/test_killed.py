"""A service that is killed and restarted during calls: afterwards each call has had exactly one effect."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from decimal import Decimal
from uuid import UUID

from saldo import AsyncClient, Client
from saldo.client import Event, Posted, Transaction
from tests.client.conftest import KillableService

CALLS = 1200
KILLED_AT = (150, 600)
"""Numbers of answers after which the service is killed, while calls go on."""

THREADS = 8


class Killer:
    """A thread that kills the service once a number of answers has come, so that no caller waits for it."""

    def __init__(self, service: KillableService) -> None:
        self._service = service
        self._reached = [threading.Event() for _ in KILLED_AT]
        self._count = 0
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._run)
        self.lives = 1

    def __enter__(self) -> Killer:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        for reached in self._reached:  # if the test has failed before
            reached.set()
        self._thread.join()

    def count_answer(self, _: object = None) -> None:
        """Count one more answer."""
        with self._lock:
            self._count += 1
            for count, reached in zip(KILLED_AT, self._reached, strict=True):
                if self._count >= count:
                    reached.set()

    def _run(self) -> None:
        for reached in self._reached:
            reached.wait()
            self._service.kill_and_restart()
            self.lives += 1


def check(client: Client, user_id: int, answers: Iterable[Transaction | Posted]) -> None:
    """Check that each call was answered and is recorded once, and that nothing else is."""
    told = list(answers)
    uuids = [answer.uuid for answer in told]
    recorded = list(client.transactions(user_id, limit=1000))
    assert len(told) == CALLS
    assert len(set(uuids)) == CALLS
    assert sorted(transaction.uuid for transaction in recorded) == sorted(uuids)
    assert client.balance(user_id).balance == Decimal("0.01") * CALLS
    by_uuid: dict[UUID, Transaction] = {each.uuid: each for each in recorded}
    for answer in told:
        assert answer.number == by_uuid[answer.uuid].number
        assert answer.balance == by_uuid[answer.uuid].balance


def test_calls(mortal: KillableService) -> None:
    with Client(mortal.url) as client, Killer(mortal) as killer:
        user = client.create_user("user-7341")

        def deposit(_: int) -> Transaction:
            answer = client.deposit(user.id, "0.01")
            killer.count_answer()
            return answer

        with ThreadPoolExecutor(THREADS) as threads:
            answers = list(threads.map(deposit, range(CALLS)))
        check(client, user.id, answers)
    assert killer.lives == 3


async def test_calls_of_asyncio(mortal: KillableService) -> None:
    with Killer(mortal) as killer:
        async with AsyncClient(mortal.url) as client:
            user = await client.create_user("user-7341")
            answers: list[Transaction] = []

            async def deposit_some() -> None:
                for _ in range(CALLS // THREADS):
                    answers.append(await client.deposit(user.id, "0.01"))
                    killer.count_answer()

            await asyncio.gather(*(deposit_some() for _ in range(THREADS)))
    assert killer.lives == 3
    with Client(mortal.url) as asking:
        check(asking, user.id, answers)


def test_writer_keeps_its_order_while_the_service_is_killed(mortal: KillableService) -> None:
    with Client(mortal.url) as client, Killer(mortal) as killer:
        user = client.create_user("user-7341")
        with client.writer(batch_max=50, outstanding_max=200) as writer:
            futures = []
            for _ in range(CALLS):
                future = writer.deposit(user.id, "0.01")
                future.add_done_callback(killer.count_answer)
                futures.append(future)
        assert (writer.posted, writer.failed) == (CALLS, 0)
        check(client, user.id, (future.result() for future in futures))
        numbers = [future.result().number for future in futures]
        assert numbers == list(range(1, CALLS + 1)), "not in the order in which they were given"
    assert killer.lives == 3


async def test_asyncio_writer_while_the_service_is_killed(mortal: KillableService) -> None:
    with Killer(mortal) as killer:
        async with AsyncClient(mortal.url) as client:
            user = await client.create_user("user-7341")
            async with client.writer(batch_max=50, outstanding_max=200) as writer:
                futures = []
                for _ in range(CALLS):
                    future = await writer.deposit(user.id, "0.01")
                    future.add_done_callback(killer.count_answer)
                    futures.append(future)
            answers = [await future for future in futures]
    assert killer.lives == 3
    with Client(mortal.url) as asking:
        check(asking, user.id, answers)


def test_events_arrive_once_and_without_a_gap(mortal: KillableService) -> None:
    with Client(mortal.url) as client, Killer(mortal) as killer:
        user = client.create_user("user-7341")
        stream = client.events(user_ids=[user.id], start="start")
        seen: list[Event] = []

        def follow() -> None:
            for event in stream:
                seen.append(event)
                if event.data.number == CALLS:
                    return

        following = threading.Thread(target=follow)
        following.start()
        with client.writer(batch_max=50, outstanding_max=200) as writer:
            for _ in range(CALLS):
                writer.deposit(user.id, "0.01").add_done_callback(killer.count_answer)
        following.join()
    assert killer.lives == 3
    assert [event.data.number for event in seen] == list(range(CALLS + 1))
    assert stream.position
