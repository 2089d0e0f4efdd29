"""The engine by itself, with a connection that fails in the ways a database can."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from uuid import uuid4

import pytest

from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    QueueFullError,
    RequestFailedError,
)
from saldo.engine.shard_routing import ShardPlacementWatcher
from saldo.ledger.model import SHARDS, Decision, Outcome, TransactionRequest
from saldo.store.citus.placement import Node
from saldo.store.connections.connection import Backend
from saldo.store.errors import (
    ConnectionLostError,
    RejectedError,
    TemporarilyUnavailableError,
    UuidRaceError,
)

POISON = 666
NODES = [Node("127.0.0.1", 9701 + number, number, "the ledger") for number in range(3)]


class Scripted:
    """A connection that first raises the given errors and then posts; it rejects the poisoned request."""

    def __init__(self, *errors: Exception, replayed: bool = False) -> None:
        self.errors = list(errors)
        self.replayed = replayed
        self.batches: list[int] = []
        self.lock_wait_seconds = 0.0
        self.backend: Backend | None = None
        self.posted: list[TransactionRequest] = []
        self.at_once: list[set[int]] = []
        self.shared_groups = 0
        self.called = asyncio.Event()
        self.gate = asyncio.Event()
        self.gate.set()

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision]:
        groups = {request.user_id % 4 for request in requests}
        self.shared_groups += any(groups & others for others in self.at_once)
        self.at_once.append(groups)
        self.called.set()
        try:
            await self.gate.wait()
            await asyncio.sleep(0)
        finally:
            self.at_once.remove(groups)
        self.batches.append(len(requests))
        if self.errors:
            raise self.errors.pop(0)
        if any(request.amount == POISON for request in requests):
            raise RejectedError("22003: out of range")
        self.posted += requests
        return [
            Decision(Outcome.POSTED, replayed=self.replayed, number=1, amount=request.amount)
            for request in requests
        ]

    async def is_any_alive(self, backends: Sequence[Backend]) -> bool:
        return False

    def abort_connection(self) -> None: ...

    async def close(self) -> None: ...


def _engine(
    connection: Scripted | dict[Node | None, Scripted],
    *,
    lanes: int = 1,
    queue: int = 100,
    deadline: float = 20,
    timeout: float = 20,
    wait: float = 20,
    by_shard: bool = False,
) -> Engine:
    async def connect(_: int, node: Node | None) -> Scripted:
        return connection if isinstance(connection, Scripted) else connection[node]

    engine = Engine(
        connect,
        EngineLimits(
            lanes=lanes,
            by_shard=by_shard,
            batch_requests_max=50,
            parallel_lanes_requests_min=50,
            queue_requests_max=queue,
            queue_wait_seconds_max=wait,
            request_deadline_seconds=deadline,
            slow_log_seconds=60.0,
            batch_timeout_seconds=timeout,
        ),
    )
    engine.start()
    return engine


def _request(amount: int = 1, user_id: int = 1) -> TransactionRequest:
    return TransactionRequest(uuid4(), user_id, amount, None)


@pytest.mark.parametrize(
    "error",
    [UuidRaceError("key"), TemporarilyUnavailableError("no space"), ConnectionLostError("gone")],
)
async def test_batch_is_retried_after_a_lost_connection(error: Exception) -> None:
    connection = Scripted(error)
    engine = _engine(connection)
    assert (await engine.post(_request())).outcome is Outcome.POSTED
    assert connection.batches == [1, 1]
    await engine.stop(1)


async def test_a_distributed_ledger_is_sent_batches_of_one_shard() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=3, by_shard=True)
    users = [1, 2, 65, 1, 3, 66, 129]
    await asyncio.gather(*(engine.post(_request(user_id=user)) for user in users))
    await engine.stop(1)
    assert sorted(connection.batches) == [1, 2, 4]
    assert len(connection.posted) == len(users)


async def test_unreachable_shard_backs_off_and_others_continue() -> None:
    class Away(Scripted):
        """A connection to a ledger of which one machine can't be reached."""

        async def post(
            self, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> list[Decision]:
            self.away = any(request.user_id == 1 for request in requests) and not back.is_set()
            if self.away:
                tried.set()
                raise ConnectionLostError("no route to host")
            return await super().post(requests, atomic=atomic)

    tried, back = asyncio.Event(), asyncio.Event()
    connection = Away()
    engine = _engine(connection, lanes=1, by_shard=True)
    first, second = (asyncio.create_task(engine.post(_request(amount))) for amount in (1, 2))
    await tried.wait()
    for user in (2, 3):
        assert (await engine.post(_request(user_id=user))).outcome is Outcome.POSTED
    assert not first.done()
    back.set()
    assert [(await task).outcome for task in (first, second)] == [Outcome.POSTED] * 2
    assert [(request.user_id, request.amount) for request in connection.posted[2:]] == [
        (1, 1),
        (1, 2),
    ]
    await engine.stop(1)
    assert engine.admission.waiting_requests == 0


async def test_lanes_connect_to_the_nodes_of_the_shards() -> None:
    """Send each request to its node, also after a move; a node that doesn't answer delays no other node's requests."""
    connections: dict[Node | None, Scripted] = {node: Scripted() for node in (None, *NODES)}
    engine = _engine(connections, lanes=2, by_shard=True)

    def take_posted_users(node: Node | None) -> list[int]:
        users = [request.user_id for request in connections[node].posted]
        connections[node].posted.clear()
        return sorted(users)

    async def post(*users: int) -> None:
        await asyncio.gather(*(engine.post(_request(user_id=user)) for user in users))

    await post(1, 2, 3)
    assert take_posted_users(None) == [1, 2, 3]
    engine.assign_groups_to_nodes([NODES[shard % 2] for shard in range(SHARDS)])
    await post(1, 2, 3)
    assert (take_posted_users(None), take_posted_users(NODES[0]), take_posted_users(NODES[1])) == (
        [],
        [2],
        [1, 3],
    )
    connections[NODES[1]].gate.clear()
    held = [asyncio.create_task(engine.post(_request(user_id=user))) for user in (1, 3, 5)]
    await post(2, 4, 6, 8)
    assert not any(task.done() for task in held)
    connections[NODES[1]].gate.set()
    await asyncio.gather(*held)
    assert (take_posted_users(NODES[0]), take_posted_users(NODES[1])) == ([2, 4, 6, 8], [1, 3, 5])
    # The new node has the shards of the others, except one whose place is read from the database.
    engine.assign_groups_to_nodes([None, *[NODES[2]] * (SHARDS - 1)])
    await post(1, 2, 64)
    assert (take_posted_users(None), take_posted_users(NODES[2])) == ([64], [1, 2])
    await engine.stop(1)
    assert engine.admission.waiting_requests == 0


async def test_requests_for_a_moved_shard_are_posted_at_its_new_node() -> None:
    connections: dict[Node | None, Scripted] = {node: Scripted() for node in (None, *NODES)}
    engine = _engine(connections, lanes=1, by_shard=True)
    engine.assign_groups_to_nodes([NODES[shard % 2] for shard in range(SHARDS)])
    connections[NODES[1]].gate.clear()
    first = asyncio.create_task(engine.post(_request(user_id=1)))
    await connections[NODES[1]].called.wait()
    second = asyncio.create_task(engine.post(_request(user_id=1)))
    await asyncio.sleep(0)
    engine.assign_groups_to_nodes([NODES[0], NODES[0], *[NODES[1]] * (SHARDS - 2)])
    connections[NODES[1]].gate.set()
    async with asyncio.timeout(10):
        await asyncio.gather(first, second)
    assert [len(connections[node].posted) for node in NODES[:2]] == [1, 1]
    await engine.stop(1)


async def test_placement_is_refreshed_and_unreached_nodes_are_left_to_others() -> None:
    class Placed(Engine):
        def __init__(self) -> None:
            self.placed: list[set[Node | None]] = []

        def assign_groups_to_nodes(self, nodes: Sequence[Node | None]) -> None:
            self.placed.append(set(nodes))

    where = [*[NODES[0]] * 32, *[NODES[1]] * 32]
    away = {NODES[1]}

    async def ask() -> list[Node]:
        return where

    async def connect(_: int, node: Node | None) -> Scripted:
        if node in away:
            raise ConnectionLostError("no route to host")
        return Scripted()

    engine = Placed()
    placing = ShardPlacementWatcher(engine, ask, connect)
    await placing.refresh()
    await placing.refresh()
    assert engine.placed == [{NODES[0], None}]
    away.clear()
    await placing.refresh()
    # A node that was reached once is not left to others, which could not reach it either.
    away.add(NODES[1])
    await placing.refresh()
    assert engine.placed[1:] == [{NODES[0], NODES[1]}]
    where[0] = NODES[2]
    await placing.refresh()
    assert engine.placed[2:] == [{*NODES}]


async def test_requests_for_an_unreachable_shard_are_known_to_be_undecided() -> None:
    connection = Scripted(*[ConnectionLostError("gone")] * 100)
    engine = _engine(connection, lanes=1, by_shard=True, deadline=0.2)
    with pytest.raises(OutcomeUnknownError):
        await engine.post(_request())
    await engine.stop(1)


async def test_outcome_learnt_by_an_internal_retry_is_not_a_replay() -> None:
    engine = _engine(Scripted(ConnectionLostError("gone"), replayed=True))
    assert not (await engine.post(_request())).replayed
    assert (await engine.post(_request())).replayed
    await engine.stop(1)


async def test_a_poisoned_request_fails_alone() -> None:
    connection = Scripted()
    engine = _engine(connection)
    connection.gate.clear()
    requests = [_request(POISON if index == 7 else 1) for index in range(20)]
    posts = [asyncio.ensure_future(engine.post(request)) for request in requests]
    await asyncio.sleep(0)
    connection.gate.set()
    results = await asyncio.gather(*posts, return_exceptions=True)
    failed = [index for index, result in enumerate(results) if isinstance(result, Exception)]
    assert failed == [7]
    assert isinstance(results[7], RequestFailedError)
    await engine.stop(1)


async def test_a_rejection_after_a_lost_attempt_does_not_claim_that_nothing_was_recorded() -> None:
    engine = _engine(Scripted(ConnectionLostError("gone"), RejectedError("42501: not now")))
    with pytest.raises(OutcomeUnknownError):
        await engine.post(_request())
    await engine.stop(1)


async def test_waiting_requests_become_one_batch() -> None:
    connection = Scripted()
    engine = _engine(connection)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request())) for _ in range(30)]
    while engine.admission.admitted_requests < 30:
        await asyncio.sleep(0)
    connection.gate.set()
    await asyncio.gather(*posts)
    assert sum(connection.batches) == 30
    assert len(connection.batches) <= 2
    await engine.stop(1)


async def test_full_queue_rejects_requests_immediately() -> None:
    connection = Scripted()
    engine = _engine(connection, queue=3)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request())) for _ in range(3)]
    await asyncio.sleep(0)
    with pytest.raises(QueueFullError):
        await engine.post(_request())
    connection.gate.set()
    assert len(await asyncio.gather(*posts)) == 3
    await engine.stop(1)


async def test_deadline_distinguishes_sent_and_unsent_requests() -> None:
    connection = Scripted()
    engine = _engine(connection, deadline=600)
    connection.gate.clear()
    sent = asyncio.ensure_future(engine.post(_request()))
    while not connection.gate._waiters:
        await asyncio.sleep(0)
    unsent = asyncio.ensure_future(engine.post(_request()))
    deadlines = engine._deadlines
    while len(deadlines._oldest_first) < 2:
        await asyncio.sleep(0)
    for waiting in deadlines._oldest_first:
        waiting.deadline = 0
    assert deadlines._timer is not None
    deadlines._timer.cancel()
    deadlines._expire_oldest(asyncio.get_running_loop())
    results = await asyncio.gather(sent, unsent, return_exceptions=True)
    assert [type(result) for result in results] == [OutcomeUnknownError, DeadlineExceededError]
    connection.gate.set()
    await engine.stop(1)


async def test_stop_finishes_what_is_queued_and_then_accepts_no_more() -> None:
    connection = Scripted()
    engine = _engine(connection)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request())) for _ in range(60)]
    await asyncio.sleep(0)
    stop = asyncio.ensure_future(engine.stop(5))
    await asyncio.sleep(0)
    connection.gate.set()
    assert len(await asyncio.gather(*posts)) == 60
    await stop
    with pytest.raises(QueueFullError):
        await engine.post(_request())


async def test_stop_is_bounded_and_leaves_sent_requests_unknown() -> None:
    connection = Scripted()
    engine = _engine(connection)
    connection.gate.clear()
    sent = asyncio.ensure_future(engine.post(_request()))
    while not connection.gate._waiters:
        await asyncio.sleep(0)
    await engine.stop(0.01)
    with pytest.raises(OutcomeUnknownError):
        await sent


async def test_with_few_waiting_one_lane_takes_all_of_them() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=4)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request(user_id=user))) for user in range(1, 41)]
    while engine.admission.admitted_requests < 40:
        await asyncio.sleep(0)
    connection.gate.set()
    await asyncio.gather(*posts)
    assert sum(connection.batches) == 40
    assert len(connection.batches) <= 2
    await engine.stop(1)


async def test_under_load_lanes_work_on_separate_shard_groups() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=4, queue=10_000)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request(user_id=n))) for n in range(400)]
    while len(connection.at_once) < 4:
        await asyncio.sleep(0)
    connection.gate.set()
    await asyncio.gather(*posts)
    assert connection.shared_groups == 0
    await engine.stop(1)


async def test_many_lanes_do_not_split_the_queue_into_small_batches() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=32, queue=10_000)
    connection.gate.clear()
    posts = [asyncio.ensure_future(engine.post(_request(user_id=n))) for n in range(320)]
    while len(connection.at_once) < 2:
        await asyncio.sleep(0)
    connection.gate.set()
    await asyncio.gather(*posts)
    # Each has at least half of the requests that split the queue; only the last may be smaller.
    assert all(size >= 25 for size in connection.batches[:-1])
    await engine.stop(1)


async def test_many_are_decided_in_order_and_a_poisoned_one_fails_alone() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=2)
    requests = [_request(POISON if n == 13 else n + 1, user_id=n % 5) for n in range(40)]
    results = await engine.post_many(requests)
    assert isinstance(results[13], RequestFailedError)
    amounts = [result.amount for result in results if isinstance(result, Decision)]
    assert amounts == [n + 1 for n in range(40) if n != 13]
    for user in range(5):
        of_user = [request.amount for request in connection.posted if request.user_id == user]
        assert of_user == sorted(of_user)
    await engine.stop(1)


async def test_an_atomic_batch_is_never_cut() -> None:
    connection = Scripted()
    engine = _engine(connection, lanes=2)
    decisions = await engine.post_atomic([_request(user_id=n) for n in range(60)])
    assert len(decisions) == 60
    assert connection.batches == [60]
    with pytest.raises(RequestFailedError):
        await engine.post_atomic([_request(), _request(POISON)])
    await engine.stop(1)


async def _ask_one_by_one(engine: Engine, count: int) -> list[asyncio.Task[Decision]]:
    posts = []
    for _ in range(count):
        posts.append(asyncio.create_task(engine.post(_request())))
        for _ in range(20):
            await asyncio.sleep(0)
    return posts


async def test_lane_lingers_for_just_answered_clients_behind_other_processes() -> None:
    for lock_wait, batches in ((0.0, 11), (0.04, 2)):
        connection = Scripted()
        engine = _engine(connection)
        connection.lock_wait_seconds = lock_wait
        await asyncio.gather(*(engine.post(_request()) for _ in range(10)))
        await asyncio.gather(*await _ask_one_by_one(engine, 10))
        assert len(connection.batches) == batches
        await engine.stop(1)


async def test_lane_never_lingers_for_long() -> None:
    connection = Scripted()
    connection.lock_wait_seconds = 0.04
    engine = _engine(connection)
    await asyncio.gather(*(engine.post(_request()) for _ in range(10)))
    await asyncio.gather(*await _ask_one_by_one(engine, 3))  # the other seven send no more
    assert connection.batches == [10, 3]
    await asyncio.gather(*(engine.post(_request()) for _ in range(10)))
    waiting = asyncio.ensure_future(engine.post(_request()))
    await engine.stop(1)
    assert waiting.done()
