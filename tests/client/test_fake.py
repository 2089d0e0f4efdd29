"""The fake, and what goes wrong on the way to it: what users try their own code with."""

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
    NameTakenError,
    OutcomeUnknownError,
    Retries,
    UnavailableError,
    UnexpectedAnswerError,
)
from saldo.ledger.model import Limits
from saldo.testing import AT_ONCE, FakeSaldo

NO_PATIENCE = Retries(timeout_seconds=0)


def test_whatever_is_lost_there_is_one_effect() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("Artem")
        fake.lose_requests(2)
        fake.lose_answers(2)
        fake.overload(2)
        assert client.deposit(user.id, 5).replayed
        assert fake.requests == 1 + 6 + 1
        assert client.balance(user.id).balance == 5


def test_whoever_gives_up_can_go_on_with_the_uuid() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("Artem")
    with fake.client(retries=NO_PATIENCE) as hasty:
        fake.lose_answers()
        with pytest.raises(OutcomeUnknownError) as unknown:
            hasty.deposit(user.id, 5)
        assert hasty.deposit(user.id, 5, uuid=unknown.value.uuid).replayed
        fake.lose_requests()
        with pytest.raises(UnavailableError) as away:
            hasty.deposit(user.id, 5)
        assert not isinstance(away.value, OutcomeUnknownError)
        assert hasty.balance(user.id).balance == 5


def test_a_user_that_may_be_ours() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        fake.lose_answers()
        with pytest.raises(NameTakenError) as taken:
            client.create_user("Artem")
        assert taken.value.perhaps_ours
        assert client.user(taken.value.user_id).name == "Artem"


def test_a_writer_sends_again_what_was_lost() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        user = client.create_user("Artem")
        fake.lose_answers()
        fake.overload()
        fake.lose_requests()
        with client.writer(batch_max=10) as writer:
            futures = [writer.deposit(user.id, 1) for _ in range(100)]
        assert [future.result().balance for future in futures] == list(range(1, 101))
        assert any(future.result().replayed for future in futures)


def test_a_writer_that_breaks_lets_nobody_wait() -> None:
    fake = FakeSaldo()
    client = fake.client()
    client.create_user("Artem")
    client.close()  # the program's own mistake: no attempt mends it
    with pytest.raises(RuntimeError, match="before its time"), client.writer() as writer:
        future = writer.deposit(1, 1)
        assert isinstance(future.exception(), OutcomeUnknownError)
        writer.deposit(1, 1)


class Cleared(deque[Any]):
    """What waits in a writer; once it is to be cleared it lets somebody come between."""

    def __init__(self) -> None:
        super().__init__()
        self.begun = threading.Event()
        self.appended = threading.Event()

    def clear(self) -> None:
        self.begun.set()
        self.appended.wait(BETWEEN_SECONDS)
        super().clear()


BETWEEN_SECONDS = 0.3
"""For what must not come between; without the lock it does within a millisecond."""


def test_a_writer_that_breaks_leaves_out_nobody_who_comes_at_that_moment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sent, coming = threading.Event(), threading.Event()

    def break_it(_: httpx.Request) -> httpx.Response:
        sent.set()
        coming.wait()
        raise TypeError("a fault of the transport")

    with Client(transport=httpx.MockTransport(break_it)) as client:
        writer = client.writer()
        writer._waiting = waiting = Cleared()
        with pytest.raises(RuntimeError, match="before its time"), writer:
            first = writer.deposit(1, 1)
            sent.wait()

            def accepts() -> bool:
                coming.set()
                waiting.begun.wait(BETWEEN_SECONDS)
                return True

            monkeypatch.setattr(writer, "_accepts", accepts)
            second = writer.deposit(1, 1)
            waiting.appended.set()
        for future in (first, second):
            assert future.done()
            assert isinstance(future.exception(), OutcomeUnknownError)


ODD: Any = object()


@pytest.mark.parametrize("given", [(ODD, 1), (1, "\ud800")])
def test_what_can_not_be_written_is_told_to_who_gave_it_and_to_nobody_else(
    given: tuple[Any, Any],
) -> None:
    with FakeSaldo().client() as client:
        user = client.create_user("Artem")
        with client.writer() as writer:
            futures = [writer.deposit(user.id, 1)]
            for timestamp in (None, "\udcff"):
                with pytest.raises((TypeError, ValueError)):
                    writer.deposit(*given, timestamp=timestamp)
            futures.append(writer.deposit(user.id, 1))
        assert [future.result().balance for future in futures] == [1, 2]


def test_a_writer_is_of_one_process(monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeSaldo().client() as client, client.writer() as writer:
        monkeypatch.setattr("os.getpid", lambda: -1)
        with pytest.raises(RuntimeError, match="after the fork"):
            writer.deposit(1, 1)
        monkeypatch.undo()


async def test_it_serves_asyncio_too() -> None:
    fake = FakeSaldo()
    async with fake.async_client() as client:
        user = await client.create_user("Artem")
        fake.lose_answers(2)
        async with client.writer(batch_max=10, outstanding_max=20) as writer:
            futures = [await writer.deposit(user.id, 1) for _ in range(100)]
        assert [(await future).number for future in futures] == list(range(1, 101))
        numbers = [each.number async for each in client.transactions(user.id, limit=30)]
        assert numbers == list(range(100, 0, -1))


def test_its_clock_can_be_set() -> None:
    fake = FakeSaldo()
    fake.now = datetime(2020, 2, 29, tzinfo=UTC)
    with fake.client() as client:
        user = client.create_user("Artem")
        assert client.deposit(user.id, 5).recorded_at == fake.now
        fake.now += timedelta(days=1)
        assert client.withdraw(user.id, 2).timestamp == fake.now
        assert client.balance(user.id, date="2020-02-29").balance == 5


def test_its_rules_can_be_set() -> None:
    with FakeSaldo(decimals=0, limits=Limits(balance_max=10)).client() as client:
        user = client.create_user("Artem")
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
def test_it_says_what_it_does_not_have(ask: Callable[[Client], object]) -> None:
    with FakeSaldo().client() as client, pytest.raises(UnexpectedAnswerError) as error:
        ask(client)
    assert error.value.code == "not_faked"


def test_a_client_of_ones_own() -> None:
    fake = FakeSaldo()
    with Client(retries=AT_ONCE, transport=fake.transport) as client:
        assert client.health() == "ok"
    assert AsyncClient(transport=fake.transport)
