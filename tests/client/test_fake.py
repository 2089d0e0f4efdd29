"""The fake, and what goes wrong on the way to it: what users try their own code with."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import Decimal

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


def test_it_says_what_it_does_not_have() -> None:
    with FakeSaldo().client() as client, pytest.raises(UnexpectedAnswerError, match="not_faked"):
        list(client.webhooks())


def test_a_client_of_ones_own() -> None:
    fake = FakeSaldo()
    with Client(retries=AT_ONCE, transport=fake.transport) as client:
        assert client.health() == "ok"
    assert AsyncClient(transport=fake.transport)
