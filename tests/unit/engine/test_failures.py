"""Answers of the engine after failed attempts: never "nothing was recorded" where something may have been."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from saldo.engine.engine import Engine, EngineLimits
from saldo.engine.errors import (
    DeadlineExceededError,
    OutcomeUnknownError,
    RequestFailedError,
)
from saldo.engine.pending import PendingRequest
from saldo.engine.queue import RequestQueue
from saldo.ledger.model import Decision, Outcome, TransactionRequest
from saldo.store.citus.placement import Node
from saldo.store.connections.connection import Backend
from saldo.store.errors import (
    ConnectionLostError,
    OutcomeUncertainError,
    RejectedError,
    StatementTimeoutError,
    StoreError,
    TemporarilyUnavailableError,
    UuidRaceError,
)

BACKEND = Backend(4711, datetime(2026, 11, 30, tzinfo=UTC))
POSTED = Decision(Outcome.POSTED, number=1)
REFUSED = Decision(Outcome.INSUFFICIENT_FUNDS, number=1)
CONFLICT = Decision(Outcome.UUID_CONFLICT, number=1)
UNRECORDED = [
    Decision(outcome)
    for outcome in Outcome
    if not outcome.is_recorded and outcome is not Outcome.UUID_CONFLICT
]


class Answers:
    """A connection that answers each call with the next of its answers, and then always with the last one."""

    lock_wait_seconds = 0.0

    def __init__(
        self,
        *answers: StoreError | Decision | list[Decision],
        backend: Backend | None = None,
        asked: Sequence[bool] = (False,),
    ) -> None:
        self.answers = list(answers)
        self.backend = backend
        self.asked = list(asked)
        self.calls: list[int] = []
        self.questions: list[list[Backend]] = []

    async def post(
        self, requests: Sequence[TransactionRequest], *, atomic: bool = False
    ) -> list[Decision]:
        self.calls.append(len(requests))
        answer = self.answers[0]
        if len(self.answers) > 1:
            self.answers.pop(0)
        if isinstance(answer, StoreError):
            raise answer
        return answer if isinstance(answer, list) else [answer for _ in requests]

    async def is_any_alive(self, backends: Sequence[Backend]) -> bool:
        self.questions.append(list(backends))
        return self.asked.pop(0) if len(self.asked) > 1 else self.asked[0]

    def abort_connection(self) -> None: ...

    async def close(self) -> None: ...


@asynccontextmanager
async def engine_of(
    connection: Answers, *, by_shard: bool = False, stop: float = 1
) -> AsyncIterator[Engine]:
    async def connect(_: int, __: Node | None) -> Answers:
        return connection

    engine = Engine(
        connect,
        EngineLimits(
            lanes=1,
            by_shard=by_shard,
            batch_requests_max=50,
            parallel_lanes_requests_min=50,
            queue_requests_max=100,
            queue_wait_seconds_max=20,
            request_deadline_seconds=20,
            slow_log_seconds=60.0,
            batch_timeout_seconds=20,
        ),
    )
    engine.start()
    yield engine
    await engine.stop(stop)


@pytest.fixture(autouse=True)
def no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("saldo.engine.lane.BACKOFF_SECONDS_MIN", 0.001)
    monkeypatch.setattr("saldo.engine.lane.BACKOFF_SECONDS_MAX", 0.002)


def request() -> TransactionRequest:
    return TransactionRequest(uuid4(), 1, 100, None)


LOST = ConnectionLostError("gone")


@pytest.mark.parametrize("decision", UNRECORDED, ids=lambda decision: decision.outcome.name)
async def test_an_unrecorded_outcome_after_a_lost_attempt_of_an_unknown_process_is_unknown(
    decision: Decision,
) -> None:
    async with engine_of(Answers(LOST, decision)) as engine:
        with pytest.raises(OutcomeUnknownError):
            await engine.post(request())
        # The same outcome of a first attempt is final.
        assert await engine.post(request()) == decision


@pytest.mark.parametrize("decision", [POSTED, REFUSED, CONFLICT])
async def test_a_recorded_outcome_after_a_lost_attempt_is_final(decision: Decision) -> None:
    async with engine_of(Answers(LOST, decision)) as engine:
        assert await engine.post(request()) == decision


async def test_an_unrecorded_outcome_is_final_once_the_process_of_the_lost_attempt_has_ended() -> (
    None
):
    connection = Answers(LOST, *UNRECORDED[:1] * 4, backend=BACKEND, asked=[True, True, False])
    async with engine_of(connection) as engine:
        assert await engine.post(request()) == UNRECORDED[0]
    # Each time, the query comes before the call whose answer is used.
    assert (len(connection.calls), connection.questions) == (4, [[BACKEND]] * 3)


async def test_outcome_is_unknown_while_the_backend_of_the_lost_attempt_runs(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saldo.engine.lane.UNSETTLED_SECONDS_MAX", 0.01)
    connection = Answers(LOST, UNRECORDED[0], backend=BACKEND, asked=[True])
    async with engine_of(connection) as engine:
        with pytest.raises(OutcomeUnknownError):
            await engine.post(request())
        connection.answers = [POSTED]
        assert await engine.post(request()) == POSTED


@pytest.mark.parametrize(
    ("decisions", "final"),
    [
        ([POSTED, POSTED], True),
        ([POSTED, Decision(Outcome.INSUFFICIENT_FUNDS, number=2)], False),
        ([Decision(Outcome.USER_NOT_FOUND), POSTED], False),
        ([POSTED, REFUSED._replace(replayed=True)], True),
        ([CONFLICT, POSTED], True),
    ],
)
async def test_the_refusal_of_an_atomic_array_after_a_lost_attempt(
    decisions: list[Decision], final: bool
) -> None:
    async with engine_of(Answers(LOST, decisions)) as engine:
        post = engine.post_atomic([request(), request()])
        if final:
            assert [each.outcome for each in await post] == [each.outcome for each in decisions]
        else:
            with pytest.raises(OutcomeUnknownError):
                await post


async def test_repeated_refusal_in_an_array_is_not_a_recorded_one() -> None:
    refused = Decision(Outcome.INSUFFICIENT_FUNDS, number=1)
    async with engine_of(Answers(LOST, [refused, refused._replace(replayed=True)])) as engine:
        with pytest.raises(OutcomeUnknownError):
            await engine.post_atomic([request()] * 2)


async def test_a_first_call_that_runs_after_the_second_is_never_contradicted() -> None:
    """Let the server hold back the lost statement, and run it when the user exists."""

    class Held(Answers):
        def __init__(self) -> None:
            super().__init__(LOST)
            self.held: list[UUID] = []
            self.recorded: set[UUID] = set()
            self.user_exists = False

        async def post(
            self, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> list[Decision]:
            if not self.held:
                self.held = [request.uuid for request in requests]
                raise LOST
            if self.user_exists:
                self.recorded.update(request.uuid for request in requests)
            return [POSTED if self.user_exists else UNRECORDED[0] for _ in requests]

    connection = Held()
    async with engine_of(connection) as engine:
        answer = await asyncio.gather(engine.post(request()), return_exceptions=True)
        connection.user_exists = True
        connection.recorded.update(connection.held)
    assert connection.recorded
    assert isinstance(answer[0], OutcomeUnknownError)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (RejectedError("22003"), RequestFailedError),
        (StatementTimeoutError("statement timeout"), DeadlineExceededError),
        (UuidRaceError("23505"), RequestFailedError),
        (OutcomeUncertainError("the answer can't be read"), OutcomeUnknownError),
    ],
)
async def test_a_request_that_fails_again_and_again_fails_alone(
    error: StoreError, answer: type[Exception]
) -> None:
    poison = request()

    class Poisoned(Answers):
        async def post(
            self, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> list[Decision]:
            if poison in requests:
                self.calls.append(len(requests))
                raise error
            return await super().post(requests)

    connection = Poisoned(POSTED)
    async with engine_of(connection) as engine:
        many = [request() for _ in range(8)]
        results = await asyncio.gather(
            *(engine.post(each) for each in [*many, poison]), return_exceptions=True
        )
        assert results[:-1] == [POSTED] * 8
        assert type(results[-1]) is answer
        in_array = await engine.post_many([*many, poison])
        assert in_array[:-1] == [POSTED] * 8
        assert type(in_array[-1]) is answer
    # Nine are bisected in five steps. Only a race for a uuid is retried unchanged, three times in all.
    tries = 3 if isinstance(error, UuidRaceError) else 1
    assert len(connection.calls) == 2 * (tries * 5 + 4)


async def test_uuid_races_are_retried_at_once_only_the_first_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[float] = []

    async def pause(seconds: float) -> None:
        pauses.append(seconds)

    connection = Answers(UuidRaceError("23505"))
    async with engine_of(connection) as engine:
        monkeypatch.setattr("saldo.engine.lane.asyncio.sleep", pause)
        with pytest.raises(RequestFailedError):
            await engine.post(request())
        monkeypatch.undo()
    assert (connection.calls, len(pauses)) == ([1, 1, 1], 1)


async def test_an_array_of_which_a_part_is_recorded_is_unknown_at_its_deadline() -> None:
    """Reject the whole array, record its first half, and let its second half time out."""

    hangs = asyncio.Event()

    class Slow(Answers):
        recorded = 0

        async def post(
            self, requests: Sequence[TransactionRequest], *, atomic: bool = False
        ) -> list[Decision]:
            if len(requests) > 2:
                raise RejectedError("XX001: an index page is broken")
            if self.recorded:
                hangs.set()
                await asyncio.Event().wait()
            self.recorded += len(requests)
            return [POSTED for _ in requests]

    connection = Slow(POSTED)
    async with engine_of(connection, stop=0.01) as engine:
        items = [request() for _ in range(4)]
        posting = asyncio.ensure_future(engine.post_many(items))
        await hangs.wait()
        (waiting,) = engine._deadlines._oldest_first
        waiting.expire()
        results = await posting
    assert connection.recorded == 2
    assert [type(result) for result in results] == [OutcomeUnknownError] * 4


async def test_array_with_a_lost_part_gets_no_final_refusal() -> None:
    """Lose a part of a batch on a distributed ledger, where the rest of the batch returns to the queue."""
    connection = Answers(RejectedError("22003"), LOST, Decision(Outcome.USER_NOT_FOUND))
    async with engine_of(connection, by_shard=True) as engine:
        results = await engine.post_many([request(), request()])
    assert [type(result) for result in results] == [OutcomeUnknownError] * 2


async def test_stop_answers_unknown_for_requests_that_were_sent_and_requeued(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("saldo.engine.queue.BACKOFF_SECONDS_MIN", 60.0)
    monkeypatch.setattr("saldo.engine.queue.BACKOFF_SECONDS_MAX", 60.0)
    connection = Answers(LOST)
    async with engine_of(connection, by_shard=True, stop=0.01) as engine:
        post = asyncio.ensure_future(engine.post(request()))
        while not connection.calls:
            await asyncio.sleep(0)
        await asyncio.sleep(0)
    with pytest.raises(OutcomeUnknownError):
        await post


async def test_busy_server_gives_deadline_exceeded_at_the_deadline() -> None:
    connection = Answers(TemporarilyUnavailableError("53100: disk full"))
    async with engine_of(connection, stop=0.01) as engine:
        post = asyncio.ensure_future(engine.post(request()))
        async with asyncio.timeout(60):
            while not connection.calls:
                await asyncio.sleep(0)
            (waiting,) = engine._deadlines._oldest_first
            # The deadline is between two attempts; within one, the outcome would be unknown.
            while waiting.may_have_been_sent:
                await asyncio.sleep(0)
        waiting.expire()
        with pytest.raises(DeadlineExceededError):
            await post


async def test_each_lingering_lane_is_woken_by_its_own_count() -> None:
    queue = RequestQueue(groups=2, batch_requests_max=50, parallel_lanes_requests_min=50)
    loop = asyncio.get_running_loop()
    queue.put(PendingRequest([request()], loop.create_future(), 1e9))
    assert await queue.take_batch() is not None  # groups are taken: no lane is woken
    lanes = [asyncio.ensure_future(queue.wait_for_growth(count, 60)) for count in (1, 2)]
    await asyncio.sleep(0)
    for lane in lanes:
        queue.put(PendingRequest([request()], loop.create_future(), 1e9))
        async with asyncio.timeout(10):
            await lane
