"""Many transactions on their way: each is settled once, whatever becomes of the connection."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client.batch import Batch, Item, Settled
from saldo.client.errors import (
    ForbiddenError,
    InsufficientFundsError,
    OutcomeUnknownError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
)
from saldo.client.models import Posted
from saldo.client.requests import Deposit
from saldo.client.retry import Retries, lost

RETRIES = Retries(timeout_seconds=10, pause_seconds=0.1, pause_seconds_max=2)
BROKEN = lost(httpx.ReadError("broken"))


def batch_of(count: int) -> Batch[int]:
    items = [Item(Deposit(1, 1 + index), index) for index in range(count)]
    return Batch(items, 0.0, RETRIES)


def answers(body: bytes, codes: Sequence[str] = ()) -> bytes:
    """The service's: posted, or as the codes say."""
    lines = []
    for number, line in enumerate(body.splitlines(), start=1):
        sent = msgspec.json.decode(line)
        head = {"line": number, "uuid": sent["uuid"]}
        code = codes[number - 1] if codes else "posted"
        status = {"posted": 200, "insufficient_funds": 402, "forbidden": 403}.get(code, 503)
        tail = {"status": status, "code": code, "detail": "so"}
        if status in {200, 402}:
            tail |= {"balance": sent["amount"], "needed": "9", "number": 1, "replayed": False}
        lines.append(msgspec.json.encode(head | tail))
    return b"".join(line + b"\n" for line in lines)


def posted(settled: list[Settled[int]]) -> list[int]:
    """Who was told, each with the answer to what was asked."""
    for future, outcome in settled:
        assert isinstance(outcome, Posted)
        assert outcome.balance == 1 + future
    return [each.future for each in settled]


@settings(deadline=None)
@given(st.integers(1, 20), st.data())
def test_each_is_settled_once_wherever_the_connection_breaks(
    count: int, data: st.DataObject
) -> None:
    batch, told = batch_of(count), list[int]()
    for losses_left in (3, 2, 1, 0):
        answer = answers(batch.attempt())
        end = data.draw(st.integers(0, len(answer)), "end") if losses_left else len(answer)
        cut = data.draw(st.integers(0, end), "cut")
        for piece in (answer[:cut], answer[cut:end]):
            told += posted(batch.take(piece, 0.0))
        error = None if end == len(answer) else BROKEN
        _, settled = batch.ended(error, 0.0, lambda: 0.5, sent=True)
        assert not settled
        assert [item.future for item in batch.unanswered] == list(range(len(told), count))
        if not batch.unanswered:
            break
    assert told == list(range(count))


def test_what_the_service_could_not_decide_is_sent_again_and_nothing_else() -> None:
    batch = batch_of(3)
    first = batch.attempt()
    settled = batch.take(answers(first, ["posted", "outcome_unknown", "insufficient_funds"]), 0.0)
    assert [each.future for each in settled] == [0, 2]
    refusal = settled[1].outcome
    assert isinstance(refusal, InsufficientFundsError)
    assert (refusal.balance, refusal.needed) == (Decimal(3), Decimal(9))
    pause, _ = batch.ended(None, 0.0, lambda: 1.0, sent=True)
    assert pause == pytest.approx(0.1)
    assert batch.attempt() == first.splitlines(keepends=True)[1]


def test_a_service_that_stops_answers_for_all_that_follow() -> None:
    batch = batch_of(3)
    lines = answers(batch.attempt(), ["posted", "overloaded", "posted"]).splitlines(keepends=True)
    stopping = msgspec.json.encode(msgspec.json.decode(lines[1]) | {"uuid": None}) + b"\n"
    assert posted(batch.take(lines[0] + stopping, 0.0)) == [0]
    batch.ended(None, 0.0, lambda: 1.0, sent=True)
    assert [item.future for item in batch.unanswered] == [1, 2]


def test_the_time_counts_from_the_last_answer() -> None:
    batch = batch_of(2)
    line = answers(batch.attempt()).splitlines(keepends=True)[0]
    batch.take(line, 9.0)
    assert batch.ended(BROKEN, 18.0, lambda: 0.0, sent=True)[1] == []
    batch.attempt()
    _, ((future, outcome),) = batch.ended(BROKEN, 19.0, lambda: 0.0, sent=True)
    assert future == 1
    assert isinstance(outcome, OutcomeUnknownError)
    assert not batch.unanswered


@pytest.mark.parametrize(
    ("sent", "expected"), [(False, UnavailableError), (True, OutcomeUnknownError)]
)
def test_it_is_told_whether_anything_may_have_been_done(
    sent: bool, expected: type[SaldoError]
) -> None:
    batch = batch_of(1)
    batch.attempt()
    uuid = batch.unanswered[0].request.uuid
    _, ((_, outcome),) = batch.ended(BROKEN, 11.0, lambda: 0.0, sent=sent)
    assert type(outcome) is expected
    assert outcome.uuid == uuid


def test_who_is_not_let_in_is_told_for_each() -> None:
    batch = batch_of(2)
    batch.attempt()
    uuids = [item.request.uuid for item in batch.unanswered]
    denied = UnauthenticatedError("no")
    _, settled = batch.ended(denied, 0.0, lambda: 0.0, sent=False)
    outcomes = [each.outcome for each in settled]
    assert all(isinstance(outcome, UnauthenticatedError) for outcome in outcomes)
    assert [outcome.uuid for outcome in outcomes if isinstance(outcome, SaldoError)] == uuids


def test_who_is_not_let_in_after_a_loss_does_not_know() -> None:
    batch = batch_of(1)
    batch.attempt()
    batch.ended(BROKEN, 0.0, lambda: 0.0, sent=True)
    ((_, outcome),) = batch.take(answers(batch.attempt(), ["forbidden"]), 0.0)
    assert isinstance(outcome, OutcomeUnknownError)
    fresh = batch_of(1)
    ((_, outcome),) = fresh.take(answers(fresh.attempt(), ["forbidden"]), 0.0)
    assert isinstance(outcome, ForbiddenError)


@pytest.mark.parametrize("line", [b"no JSON\n", b"{}\n"])
def test_an_answer_of_something_else_is_not_believed(line: bytes) -> None:
    batch = batch_of(1)
    batch.attempt()
    with pytest.raises(UnexpectedAnswerError):
        batch.take(line, 0.0)


def test_an_answer_about_another_transaction_is_not_believed() -> None:
    batch, other = batch_of(1), batch_of(1)
    batch.attempt()
    with pytest.raises(UnexpectedAnswerError, match="of no line that was sent"):
        batch.take(answers(other.attempt()), 0.0)
