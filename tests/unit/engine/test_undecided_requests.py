"""Requests that a batch leaves undecided: they are first in the next one, and no other request overtakes them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from random import Random
from uuid import UUID, uuid4

import pytest

from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.errors import EngineError, OutcomeUnknownError, RequestFailedError
from saldo.engine.lane import Lane, LaneLimits
from saldo.engine.pending import PendingRequest
from saldo.engine.queue import RequestQueue
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.citus.placement import Node
from saldo.store.connections.connection import Backend
from saldo.store.errors import ConnectionLostError, RejectedError, StoreError

LATE = -1
POISON = 666
BATCH_MAX = 50


class Budgeted:
    """A connection that decides the late withdrawals (LATE) of a limited number of users in a call."""

    lock_wait_seconds = 0.0
    backend: Backend | None = None

    def __init__(self, users_max: int, *errors: StoreError) -> None:
        self.users_max = users_max
        self.errors = list(errors)
        self.calls: list[list[TransactionRequest]] = []
        self.posted: list[TransactionRequest] = []
        self.recorded: dict[UUID, int] = {}

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision | None]:
        self.calls.append([*requests])
        await asyncio.sleep(0)
        if any(request.amount == POISON for request in requests):
            raise RejectedError("22003: out of range")
        read: set[int] = set()
        waiting: set[int] = set()
        decisions: list[Decision | None] = []
        for request in requests:
            user = request.user_id
            if request.amount == LATE and user not in read | waiting:
                (read if len(read) < self.users_max else waiting).add(user)
            if user in waiting:
                decisions.append(None)
                continue
            replayed = request.uuid in self.recorded
            if not replayed:
                self.posted.append(request)
            number = self.recorded.setdefault(request.uuid, len(self.posted))
            decisions.append(Decision(Outcome.POSTED, replayed, number=number))
        if self.errors:
            raise self.errors.pop(0)
        return decisions

    async def open(self, _: int, __: Node | None) -> Budgeted:
        return self

    async def is_any_alive(self, backends: Sequence[Backend]) -> bool:
        return False

    def abort_connection(self) -> None: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def engine_of(connection: Budgeted) -> AsyncIterator[Engine]:
    engine = Engine(
        connection.open,
        EngineLimits(
            lanes=1,
            by_shard=False,
            batch_requests_max=BATCH_MAX,
            parallel_lanes_requests_min=1000,
            queue_requests_max=100_000,
            queue_wait_seconds_max=20,
            request_deadline_seconds=20,
            slow_log_seconds=60.0,
            batch_timeout_seconds=20,
        ),
    )
    engine.start()
    yield engine
    await engine.stop(1)


def request(user: int, amount: int = 1) -> TransactionRequest:
    return TransactionRequest(uuid4(), user, amount, None)


def in_order(posted: list[TransactionRequest], sent: list[TransactionRequest]) -> bool:
    """Return whether the requests of each user were posted once, in the order in which they were sent."""
    users = {each.user_id for each in sent}
    return all(
        [each.uuid for each in posted if each.user_id == user]
        == [each.uuid for each in sent if each.user_id == user]
        for user in users
    )


@pytest.mark.parametrize("seed", range(20))
async def test_all_requests_are_decided_in_order_per_user(seed: int) -> None:
    random = Random(seed)
    connection = Budgeted(random.randint(1, 3))
    sent: list[TransactionRequest] = []
    async with engine_of(connection) as engine:
        waiting = []
        for _ in range(30):
            chunk = [
                request(random.randint(1, 8), random.choice([LATE, 1, 2]))
                for _ in range(random.randint(1, 12))
            ]
            sent += chunk
            waiting.append(asyncio.create_task(engine.post_many(chunk)))
            if random.random() < 0.5:
                await asyncio.sleep(0)
        results = [result for each in await asyncio.gather(*waiting) for result in each]
    assert in_order(connection.posted, sent)
    by_number = [
        connection.posted[result.number - 1].uuid
        for result in results
        if isinstance(result, Decision) and result.number is not None
    ]
    assert by_number == [each.uuid for each in sent]  # each has its own answer


async def test_other_requests_wait_for_one_batch_not_for_all_late_withdrawals() -> None:
    """Let a hundred users withdraw late, of whom a batch checks one; a later deposit must be in the next batch."""
    connection = Budgeted(1)
    async with engine_of(connection) as engine:
        late = asyncio.create_task(
            engine.post_many([request(user, LATE) for user in range(1, BATCH_MAX + 1)])
        )
        while len(connection.calls) < 3:
            await asyncio.sleep(0)
        begun = len(connection.calls)
        decision = await engine.post(request(1000))
        assert decision.outcome is Outcome.POSTED
        assert len(connection.calls) <= begun + 2
        assert not late.done()
        results = await late
    assert len(connection.calls) >= BATCH_MAX
    assert all(isinstance(result, Decision) and not result.replayed for result in results)


async def test_late_withdrawals_of_one_group_do_not_defer_those_of_another_for_ever() -> None:
    """Let many users of one group of shards withdraw late, and one of the other group; a batch checks one user."""
    connection = Budgeted(1)
    queue = RequestQueue(groups=2, batch_requests_max=BATCH_MAX, parallel_lanes_requests_min=1000)
    limits = LaneLimits(batch_timeout_seconds=20, slow_log_seconds=60)
    lane = Lane(0, connection.open, queue, limits, lambda: None, lambda *_: None, None)
    loop = asyncio.get_running_loop()
    for user in (2, 1, *range(4, 40, 2)):
        waiting = PendingRequest([request(user, LATE)], loop.create_future(), loop.time() + 20)
        queue.put(waiting, user % 2)
    lane.start()
    queue.close()
    await lane.stop(20)
    assert [each.user_id for each in connection.posted[:3]] == [2, 1, 4]


async def test_shard_with_deferred_requests_does_not_starve_other_shards() -> None:
    """Use single-shard batches, as on a distributed ledger, with late withdrawals that are deferred again and again."""
    connection = Budgeted(1)
    queue = RequestQueue(
        groups=2, batch_requests_max=BATCH_MAX, parallel_lanes_requests_min=1000, one_group=True
    )
    limits = LaneLimits(batch_timeout_seconds=20, slow_log_seconds=60)
    lane = Lane(0, connection.open, queue, limits, lambda: None, lambda *_: None, None)
    loop = asyncio.get_running_loop()
    for user in (*range(2, 40, 2), 1):
        amount = 1 if user == 1 else LATE
        waiting = PendingRequest([request(user, amount)], loop.create_future(), loop.time() + 20)
        queue.put(waiting, user % 2)
    lane.start()
    queue.close()
    await lane.stop(20)
    assert [each.user_id for each in connection.posted[:3]] == [2, 1, 4]


async def test_deferred_late_withdrawals_starve_no_other_request() -> None:
    observed: list[int] = []

    def observe(queued_before: int, _: float) -> None:
        observed.append(queued_before)

    connection = Budgeted(1)
    queue = RequestQueue(groups=1, batch_requests_max=BATCH_MAX, parallel_lanes_requests_min=1000)
    limits = LaneLimits(batch_timeout_seconds=20, slow_log_seconds=60)
    lane = Lane(0, connection.open, queue, limits, lambda: None, observe, None)
    loop = asyncio.get_running_loop()
    for ahead, amount in enumerate([LATE, LATE, LATE, 1]):
        waiting = PendingRequest(
            [request(ahead + 1, amount)], loop.create_future(), loop.time() + 20
        )
        waiting.requests_ahead = ahead
        queue.put(waiting)
    lane.start()
    queue.close()
    await lane.stop(1)
    # Of the three, only the first one was decided at once.
    assert len(connection.calls) == 3
    assert observed == [0]


async def test_a_poisoned_request_fails_alone_beside_deferred_ones() -> None:
    connection = Budgeted(1)
    sent = [request(user, amount) for amount in (LATE, 1, LATE) for user in range(1, 7)]
    poisoned = request(3, POISON)
    async with engine_of(connection) as engine:
        chunks = [sent[:9], [poisoned], sent[9:]]
        answered = await asyncio.gather(*(engine.post_many(chunk) for chunk in chunks))
    assert isinstance(answered[1][0], RequestFailedError)
    assert all(isinstance(each, Decision) for part in (answered[0], answered[2]) for each in part)
    assert in_order(connection.posted, sent)


async def test_array_with_a_poisoned_request_is_decided_beside_deferred_ones() -> None:
    connection = Budgeted(1)
    sent = [request(user, amount) for amount in (LATE, 1, LATE) for user in range(1, 5)]
    async with engine_of(connection) as engine:
        answered = await engine.post_many([*sent[:6], request(2, POISON), *sent[6:]])
    assert [isinstance(each, EngineError) for each in answered] == [False] * 6 + [True] + [
        False
    ] * 6
    assert in_order(connection.posted, sent)


async def test_lost_attempt_causes_no_second_answer_and_no_replay() -> None:
    connection = Budgeted(1, ConnectionLostError("gone"))
    connection.backend = Backend(4711, datetime.now(UTC))
    sent = [request(user, amount) for amount in (LATE, 1) for user in range(1, 6)]
    async with engine_of(connection) as engine:
        answered = await engine.post_many(sent)
    assert [isinstance(each, Decision) and each.replayed for each in answered] == [False] * 10
    assert in_order(connection.posted, sent)


async def test_partly_recorded_array_is_unknown_at_its_deadline() -> None:
    hangs = asyncio.Event()

    class Slow(Budgeted):
        async def post(
            self, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> list[Decision | None]:
            if self.calls:
                hangs.set()
                await asyncio.Event().wait()
            return await super().post(requests, atomic=atomic)

    async with engine_of(Slow(1)) as engine:
        posting = asyncio.ensure_future(engine.post_many([request(1, LATE), request(2, LATE)]))
        await hangs.wait()
        (waiting,) = engine._deadlines._oldest_first
        waiting.expire()
        answered = await posting
        assert [type(each) for each in answered] == [OutcomeUnknownError] * 2
