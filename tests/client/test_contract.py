"""One contract for the fake and for a real service: what one of them promises holds for the other, too."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from uuid import uuid4

import httpx
import pytest

from saldo.client import (
    Client,
    Deposit,
    InsufficientFundsError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    Posted,
    RefusedError,
    SaldoError,
    User,
    UuidConflictError,
    Withdrawal,
)
from saldo.testing import FakeSaldo

MOMENT = datetime(2023, 10, 30, 12, 30, 45, 123456, tzinfo=UTC)
HOUR = timedelta(hours=1)


@pytest.fixture(params=["fake", "service"])
def client(request: pytest.FixtureRequest) -> Iterator[Client]:
    if request.param == "fake":
        with FakeSaldo().client() as client:
            yield client
    else:
        with Client(request.getfixturevalue("shared_service").url) as client:
            yield client


@pytest.fixture
def user(client: Client) -> User:
    return client.create_user(str(uuid4()))


def test_create_read_and_find_a_user(client: Client, user: User) -> None:
    assert client.user(user.id) == user
    assert user.balance == 0
    assert user.created_at.tzinfo is not None
    assert list(client.users(name=user.name)) == [user]
    assert list(client.users(name=str(uuid4()))) == []
    with pytest.raises(NameTakenError) as taken:
        client.create_user(user.name)
    assert (taken.value.user_id, taken.value.perhaps_ours) == (user.id, False)
    with pytest.raises(InvalidError) as wrong:
        client.create_user(" ")
    assert [fault.field for fault in wrong.value.faults] == ["name"]


def test_canonically_equal_names_are_one_user(client: Client) -> None:
    unique = str(uuid4())
    composed, decomposed = f"Zo\u00eb {unique}", f"Zoe\u0308 {unique}"
    user = client.create_user(decomposed)
    assert user.name == composed
    with pytest.raises(NameTakenError) as taken:
        client.create_user(composed)
    assert taken.value.user_id == user.id
    for spelling in (composed, decomposed):
        assert list(client.users(name=spelling)) == [user]
    other = client.create_user(f"ZOE\u0308 {unique}")
    assert other.id != user.id


def test_name_with_an_invisible_character_is_rejected(client: Client) -> None:
    with pytest.raises(InvalidError) as wrong:
        client.create_user("user-7341\u202e000,1")
    (fault,) = wrong.value.faults
    assert (fault.field, "U+202E" in fault.message) == ("name", True)


def test_unknown_user(client: Client) -> None:
    nobody = 2**62
    for ask in (client.user, client.balance, lambda each: list(client.transactions(each))):
        with pytest.raises(NotFoundError) as missing:
            ask(nobody)
        assert (missing.value.code, missing.value.status) == ("user_not_found", 404)
    uuid = uuid4()
    with pytest.raises(NotFoundError) as unknown:
        client.deposit(nobody, 1, uuid=uuid)
    assert (unknown.value.code, unknown.value.uuid) == ("user_not_found", uuid)
    with pytest.raises(NotFoundError) as none:
        client.transaction(uuid)
    assert none.value.code == "transaction_not_found"


def test_deposits_and_withdrawals(client: Client, user: User) -> None:
    first = client.deposit(user.id, "100.5", timestamp=MOMENT)
    assert (first.type, first.amount, first.balance) == ("DEPOSIT", Decimal("100.50"), first.amount)
    assert str(first.amount) == "100.50"
    assert (first.user_id, first.number, first.outcome) == (user.id, 1, "posted")
    assert first.timestamp == MOMENT
    assert not first.replayed
    second = client.withdraw(user.id, Decimal("0.50"))
    assert (second.type, second.number, second.balance) == ("WITHDRAW", 2, Decimal(100))
    assert second.timestamp == second.recorded_at
    assert (
        client.transaction(second.uuid)
        == client.transaction(second.uuid, user_id=user.id)
        == second
    )
    with pytest.raises(NotFoundError):
        client.transaction(second.uuid, user_id=user.id + 64)
    assert client.user(user.id).balance == Decimal(100)


def test_a_refusal_is_recorded_and_final(client: Client, user: User) -> None:
    client.deposit(user.id, 5)
    request = Withdrawal(user.id, 8)
    for replayed in (False, True):
        with pytest.raises(InsufficientFundsError) as refused:
            client.post(request)
        error = refused.value
        assert (error.balance, error.needed, error.uuid) == (Decimal(5), Decimal(8), request.uuid)
        assert error.transaction == client.transaction(request.uuid)
        assert error.transaction is not None
        assert (error.transaction.outcome, error.transaction.number) == ("insufficient_funds", 2)
        assert (error.code, error.status) == ("insufficient_funds", 402)
        if not replayed:
            client.deposit(user.id, 100)


def test_a_uuid_has_one_effect(client: Client, user: User) -> None:
    request = Deposit(user.id, 5, timestamp=MOMENT)
    first, second = client.post(request), client.post(request)
    assert (first.replayed, second.replayed) == (False, True)
    assert client.deposit(user.id, 5, uuid=request.uuid).uuid == first.uuid
    with pytest.raises(UuidConflictError) as conflict:
        client.withdraw(user.id, 6, timestamp=MOMENT + HOUR, uuid=request.uuid)
    assert conflict.value.differing_fields == ("type", "amount", "timestamp")
    assert conflict.value.recorded == {
        "type": "DEPOSIT",
        "amount": "5.00",
        "timestamp": "2023-10-30T12:30:45.123456+00:00",
    }
    assert client.balance(user.id).balance == 5


@pytest.mark.parametrize("amount", ["0", "-1", "1.001", "x", "1e3", "1000000000000000"])
def test_wrong_amounts(client: Client, user: User, amount: str) -> None:
    with pytest.raises(InvalidError) as wrong:
        client.deposit(user.id, amount)
    assert [fault.field for fault in wrong.value.faults] == ["amount"]
    assert wrong.value.code == "invalid"


def test_wrong_times(client: Client, user: User) -> None:
    with pytest.raises(InvalidError) as future:
        client.deposit(user.id, 1, timestamp=datetime.now(UTC) + HOUR)
    assert future.value.code == "timestamp_in_future"
    assert [fault.field for fault in future.value.faults] == ["timestamp"]
    with pytest.raises(InvalidError) as unread:
        client.deposit(user.id, 1, timestamp="yesterday")
    assert unread.value.code == "invalid"
    with pytest.raises(InvalidError) as both:
        client.balance(user.id, date=MOMENT, before=MOMENT)
    assert [fault.field for fault in both.value.faults] == ["before"]
    with pytest.raises(InvalidError) as early:
        client.balance(user.id, known_at=datetime.now(UTC) + HOUR)
    assert [fault.field for fault in early.value.faults] == ["known_at"]
    with pytest.raises(InvalidError) as soon:
        list(client.transactions(user.id, known_at=datetime.now(UTC) + HOUR))
    assert [fault.field for fault in soon.value.faults] == ["known_at"]


def test_balances_at_dates(client: Client, user: User) -> None:
    client.deposit(user.id, 10, timestamp=MOMENT)
    known = client.deposit(user.id, 5, timestamp=MOMENT + HOUR).recorded_at
    client.withdraw(user.id, 3, timestamp=MOMENT)

    def balance(**at: datetime) -> Decimal:
        found = client.balance(user.id, **at)
        assert [getattr(found, name) for name in at] == list(at.values())
        return found.balance

    assert balance() == 12
    assert balance(date=MOMENT) == 7
    assert balance(before=MOMENT) == 0
    assert balance(date=MOMENT + HOUR) == 12
    assert balance(before=MOMENT + HOUR) == 7
    assert balance(known_at=known) == 15
    assert balance(date=MOMENT, known_at=known) == 10
    assert balance(known_at=MOMENT) == 0


def test_lists_in_pages(client: Client, user: User) -> None:
    made = [client.deposit(user.id, 1 + n, timestamp=MOMENT + n * HOUR) for n in range(5)]
    made.append(client.withdraw(user.id, 1))
    newest_first = made[::-1]
    assert list(client.transactions(user.id)) == newest_first
    pages = list(client.transactions(user.id, limit=2).pages())
    assert [item for page in pages for item in page.items] == newest_first
    assert pages[-1].next_cursor is None
    known = made[2].recorded_at
    assert list(client.transactions(user.id, known_at=known, limit=2)) == made[2::-1]
    assert list(client.transactions(user.id, known_at=MOMENT)) == []
    rest = client.transactions(user.id, limit=2, cursor=pages[0].next_cursor)
    assert list(rest) == newest_first[2:]
    assert rest.page() == pages[1]
    assert list(client.transactions(user.id, type="WITHDRAW")) == made[5:]
    between = client.transactions(user.id, since=MOMENT + HOUR, until=MOMENT + 3 * HOUR)
    assert list(between) == [made[2], made[1]]
    with pytest.raises(InvalidError) as wrong:
        list(client.transactions(user.id, limit=0))
    assert [fault.field for fault in wrong.value.faults] == ["limit"]
    with pytest.raises(InvalidError) as stray:
        list(client.users(cursor="stray"))
    assert [fault.field for fault in stray.value.faults] == ["cursor"]
    assert user.id in [each.id for each in client.users(limit=3)]


def test_a_page_that_is_empty_is_not_the_last(client: Client, user: User) -> None:
    client.deposit(user.id, 1)
    wanted = client.withdraw(user.id, 1)
    client.post_many([Deposit(user.id, 1) for _ in range(40)])
    found = client.transactions(user.id, type="WITHDRAW", limit=2)
    assert list(found) == [wanted]
    assert [item for page in found.pages() for item in page.items] == [wanted]


def outcomes_of(results: list[Posted | SaldoError]) -> list[tuple[str, object]]:
    return [
        ("posted", result.balance)
        if isinstance(result, Posted)
        else (str(result.code), result.uuid)
        for result in results
    ]


def test_post_many(client: Client, user: User) -> None:
    good, poor, twice = Deposit(user.id, 5), Withdrawal(user.id, 8), Deposit(user.id, 1)
    other = Deposit(user.id, 2, uuid=good.uuid)
    wrong, stray = Deposit(user.id, "0"), Deposit(2**62, 1)
    results = client.post_many([good, poor, twice, twice, other, wrong, stray])
    assert outcomes_of(results) == [
        ("posted", 5),
        ("insufficient_funds", poor.uuid),
        ("posted", 6),
        ("posted", 6),
        ("uuid_conflict", good.uuid),
        ("invalid", wrong.uuid),
        ("user_not_found", stray.uuid),
    ]
    assert [result.replayed for result in results if isinstance(result, Posted)] == [
        *(False, False, True)
    ]
    refusal = results[1]
    assert isinstance(refusal, RefusedError)
    assert (refusal.balance, refusal.needed) == (Decimal(5), Decimal(8))


def test_all_or_nothing(client: Client, user: User) -> None:
    requests = [Deposit(user.id, 5), Withdrawal(user.id, 8)]
    with pytest.raises(InsufficientFundsError) as refused:
        client.post_atomic(requests)
    assert (refused.value.item, refused.value.uuid) == (1, requests[1].uuid)
    assert refused.value.transaction is None
    assert list(client.transactions(user.id)) == []
    with pytest.raises(InvalidError) as wrong:
        client.post_atomic([Deposit(user.id, 5), Deposit(user.id, "x")])
    assert [fault.field for fault in wrong.value.faults] == ["[1].amount"]
    posted = client.post_atomic([Deposit(user.id, 5), Withdrawal(user.id, 2)])
    assert [each.balance for each in posted] == [5, 3]


def test_writer_reports_each_outcome(client: Client, user: User) -> None:
    with client.writer(batch_max=7, outstanding_max=20) as writer:
        futures = [writer.deposit(user.id, "0.5") for _ in range(50)]
        poor = writer.withdraw(user.id, 1000)
        wrong = writer.deposit(user.id, "x")
    assert [future.result().number for future in futures] == list(range(1, 51))
    refusal = poor.exception()
    assert isinstance(refusal, InsufficientFundsError)
    assert refusal.balance == 25
    assert isinstance(wrong.exception(), InvalidError)
    assert (writer.posted, writer.failed) == (50, 2)
    with pytest.raises(RuntimeError, match="not open"):
        writer.deposit(user.id, 1)


def test_health(client: Client) -> None:
    assert [client.health(what) for what in ("live", "ready", "startup")] == ["ok"] * 3


def test_pages_are_fetched_only_when_needed() -> None:
    fake = FakeSaldo()
    with fake.client() as client:
        for _ in range(3):
            client.create_user(str(uuid4()))
        before = fake.requests
        assert len(next(client.users(limit=1).pages()).items) == 1
        assert fake.requests == before + 1
    with pytest.raises(RuntimeError, match="closed"):
        client.health()
    assert isinstance(fake.transport, httpx.MockTransport)
