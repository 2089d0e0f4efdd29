"""The fake service and its simulated failures, with which users test their own code."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any
from uuid import UUID

import httpx
import pytest

from saldo.client import (
    AsyncClient,
    BalanceAboveMaximumError,
    Client,
    InsufficientFundsError,
    NameTakenError,
    OutcomeUnknownError,
    Retries,
    UnavailableError,
    UnexpectedResponseError,
)
from saldo.ledger.model import LedgerLimits
from saldo.testing import NO_PAUSES, FakeSaldo

NO_PATIENCE = Retries(timeout_seconds=0)


def test_lost_requests_and_answers_have_one_effect() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("user-7341")
        fake.lose_requests(2)
        fake.lose_responses(2)
        fake.overload(2)
        assert client.deposit(user.id, 5).replayed
        assert fake.requests == 1 + 6 + 1
        assert client.balance(user.id).balance == 5


def test_unknown_outcome_can_be_resolved_with_the_uuid() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("user-7341")
    with fake.client(retries=NO_PATIENCE) as hasty:
        fake.lose_responses()
        with pytest.raises(OutcomeUnknownError) as unknown:
            hasty.deposit(user.id, 5)
        assert hasty.deposit(user.id, 5, uuid=unknown.value.uuid).replayed
        fake.lose_requests()
        with pytest.raises(UnavailableError) as away:
            hasty.deposit(user.id, 5)
        assert not isinstance(away.value, OutcomeUnknownError)
        assert hasty.balance(user.id).balance == 5


def test_unrecorded_refusal_after_a_lost_answer_is_unknown() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("user-7341")
        fake.lose_responses()
        with pytest.raises(OutcomeUnknownError) as unknown:
            client.deposit(user.id + 1, 5)
        assert unknown.value.code == "user_not_found"
        fake.lose_responses()
        with pytest.raises(InsufficientFundsError):
            client.withdraw(user.id, 5)
        fake.lose_responses()
        with client.writer() as writer:
            # The first one is in the first request whether or not the second one is, too.
            futures = [writer.deposit(user.id + 1, 5), writer.deposit(user.id, 5)]
        assert isinstance(futures[0].exception(), OutcomeUnknownError)
        assert futures[1].result().balance == 5


def test_name_taken_after_a_lost_answer_may_be_ours() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        fake.lose_responses()
        with pytest.raises(NameTakenError) as taken:
            client.create_user("user-7341")
        assert taken.value.perhaps_ours
        assert client.user(taken.value.user_id).name == "user-7341"


def test_writer_retries_lost_requests() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("user-7341")
        fake.lose_responses()
        fake.overload()
        fake.lose_requests()
        with client.writer(batch_max=10) as writer:
            futures = [writer.deposit(user.id, 1) for _ in range(100)]
        assert [future.result().balance for future in futures] == list(range(1, 101))
        assert any(future.result().replayed for future in futures)


def test_broken_writer_resolves_all_futures() -> None:
    fake = FakeSaldo()
    client = fake.client()
    client.create_user("user-7341")
    client.close()  # a bug of the program, which no retry can fix
    with (
        pytest.raises(RuntimeError, match="the writer ended unexpectedly"),
        client.writer() as writer,
    ):
        future = writer.deposit(1, 1)
        assert isinstance(future.exception(), OutcomeUnknownError)
        writer.deposit(1, 1)


class InterruptibleQueue(deque[Any]):
    """A queue of a writer that lets another thread run while it is being cleared."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.appended = threading.Event()

    def clear(self) -> None:
        self.begun.set()
        self.appended.wait(BETWEEN_SECONDS)
        super().clear()


BETWEEN_SECONDS = 0.3
"""Time for an event that must not happen, in seconds; without the lock it happens within a millisecond."""


def test_broken_writer_resolves_futures_added_at_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, coming = threading.Event(), threading.Event()

    def break_it(_: httpx.Request) -> httpx.Response:
        sent.set()
        coming.wait()
        raise TypeError("a fault of the transport")

    with Client(transport=httpx.MockTransport(break_it)) as client:
        writer = client.writer()
        writer._waiting = waiting = InterruptibleQueue()
        with pytest.raises(RuntimeError, match="the writer ended unexpectedly"), writer:
            first = writer.deposit(1, 1)
            sent.wait()

            def accepts() -> bool:
                coming.set()
                waiting.begun.wait(BETWEEN_SECONDS)
                return True

            monkeypatch.setattr(writer, "_is_accepting", accepts)
            second = writer.deposit(1, 1)
            waiting.appended.set()
        for future in (first, second):
            assert future.done()
            assert isinstance(future.exception(), OutcomeUnknownError)


ODD: Any = object()


@pytest.mark.parametrize("given", [(ODD, 1), (1, "\ud800")])
def test_unencodable_request_fails_alone(
    given: tuple[Any, Any],
) -> None:
    with FakeSaldo().client() as client:
        user = client.create_user("user-7341")
        with client.writer() as writer:
            futures = [writer.deposit(user.id, 1)]
            for timestamp in (None, "\udcff"):
                with pytest.raises((TypeError, ValueError)):
                    writer.deposit(*given, timestamp=timestamp)
            futures.append(writer.deposit(user.id, 1))
        assert [future.result().balance for future in futures] == [1, 2]


def test_writer_cannot_be_used_after_a_fork(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeSaldo().client() as client, client.writer() as writer:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="after the fork"):
            writer.deposit(1, 1)
        monkeypatch.undo()


async def test_fake_serves_the_asyncio_client() -> None:
    fake = FakeSaldo()
    async with fake.async_client() as client:
        user = await client.create_user("user-7341")
        fake.lose_responses(2)
        async with client.writer(batch_max=10, outstanding_max=20) as writer:
            futures = [await writer.deposit(user.id, 1) for _ in range(100)]
        assert [(await future).number for future in futures] == list(range(1, 101))
        numbers = [each.number async for each in client.transactions(user.id, limit=30)]
        assert numbers == list(range(100, 0, -1))


def test_clock_of_the_fake_can_be_set() -> None:
    fake = FakeSaldo()
    fake.now = datetime(2020, 2, 29, tzinfo=UTC)
    with fake.client() as client:
        user = client.create_user("user-7341")
        assert client.deposit(user.id, 5).recorded_at == fake.now
        fake.now += timedelta(days=1)
        assert client.withdraw(user.id, 2).timestamp == fake.now
        assert client.balance(user.id, date="2020-02-29").balance == 5


def test_rules_of_the_fake_can_be_set() -> None:
    with FakeSaldo(decimals=0, limits=LedgerLimits(balance_max=10)).client() as client:
        user = client.create_user("user-7341")
        with pytest.raises(BalanceAboveMaximumError) as above:
            client.deposit(user.id, 11)
        assert above.value.needed == Decimal(11)


@pytest.mark.parametrize(
    "ask",
    [
        lambda client: list(client.webhooks()),
        lambda client: list(client.keys()),
        lambda client: client.seals(),
        lambda client: client.proof(UUID(int=1)),
        lambda client: next(iter(client.events())),
        lambda client: client.transaction_log(0),
        lambda client: client.metrics(),
        lambda client: client.openapi(),
    ],
)
def test_missing_features_of_the_fake_are_reported(ask: Callable[[Client], object]) -> None:
    with FakeSaldo().client() as client, pytest.raises(UnexpectedResponseError) as error:
        ask(client)
    assert error.value.code == "not_faked"


def test_fake_works_with_any_client() -> None:
    fake = FakeSaldo()
    with Client(retries=NO_PAUSES, transport=fake.transport) as client:
        assert client.health() == "ok"
    assert AsyncClient(transport=fake.transport)
