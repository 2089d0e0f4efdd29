"""Many transactions in flight: each is settled once, however the connection fails."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client.batch import BulkRequest, Item, ItemOutcome
from saldo.client.errors import (
    ForbiddenError,
    InsufficientFundsError,
    OutcomeUnknownError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedResponseError,
)
from saldo.client.models import Posted
from saldo.client.payloads import Deposit
from saldo.client.retry import Retries, create_no_response_error

RETRIES = Retries(timeout_seconds=10, pause_seconds=0.1, pause_seconds_max=2)
BROKEN = create_no_response_error(httpx.ReadError("broken"))


def batch_of(count: int) -> BulkRequest[int]:
    items = [Item(Deposit(1, 1 + index), index) for index in range(count)]
    return BulkRequest(items, 0.0, RETRIES)


def answers(body: bytes, codes: Sequence[str] = ()) -> bytes:
    """Return the service's answer: all are posted, or have the given codes."""
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


def check_posted(settled: list[ItemOutcome[int]]) -> list[int]:
    """Return the futures that were resolved, after checking that each has the outcome of its own request."""
    for future, outcome in settled:
        assert isinstance(outcome, Posted)
        assert outcome.balance == 1 + future
    return [each.future for each in settled]


@settings(deadline=None)
@given(st.integers(1, 20), st.data())
def test_each_request_is_settled_once_wherever_the_connection_breaks(
    count: int, data: st.DataObject
) -> None:
    batch, told = batch_of(count), list[int]()
    for losses_left in (3, 2, 1, 0):
        answer = answers(batch.start_attempt())
        end = data.draw(st.integers(0, len(answer)), "end") if losses_left else len(answer)
        cut = data.draw(st.integers(0, end), "cut")
        for piece in (answer[:cut], answer[cut:end]):
            told += check_posted(batch.feed(piece, 0.0))
        error = None if end == len(answer) else BROKEN
        _, settled = batch.end_attempt(error, 0.0, lambda: 0.5, sent=True)
        assert not settled
        assert [item.future for item in batch.unanswered] == list(range(len(told), count))
        if not batch.unanswered:
            break
    assert told == list(range(count))


def test_only_undecided_requests_are_sent_again() -> None:
    batch = batch_of(3)
    first = batch.start_attempt()
    settled = batch.feed(answers(first, ["posted", "outcome_unknown", "insufficient_funds"]), 0.0)
    assert [each.future for each in settled] == [0, 2]
    refusal = settled[1].outcome
    assert isinstance(refusal, InsufficientFundsError)
    assert (refusal.balance, refusal.needed) == (Decimal(3), Decimal(9))
    pause, _ = batch.end_attempt(None, 0.0, lambda: 1.0, sent=True)
    assert pause == pytest.approx(0.1)
    assert batch.start_attempt() == first.splitlines(keepends=True)[1]


def test_line_of_a_stopping_service_applies_to_all_that_follow() -> None:
    batch = batch_of(3)
    lines = answers(batch.start_attempt(), ["posted", "overloaded", "posted"]).splitlines(
        keepends=True
    )
    stopping = msgspec.json.encode(msgspec.json.decode(lines[1]) | {"uuid": None}) + b"\n"
    assert check_posted(batch.feed(lines[0] + stopping, 0.0)) == [0]
    batch.end_attempt(None, 0.0, lambda: 1.0, sent=True)
    assert [item.future for item in batch.unanswered] == [1, 2]


def test_timeout_counts_from_the_last_answer() -> None:
    batch = batch_of(2)
    line = answers(batch.start_attempt()).splitlines(keepends=True)[0]
    batch.feed(line, 9.0)
    assert batch.end_attempt(BROKEN, 18.0, lambda: 0.0, sent=True)[1] == []
    batch.start_attempt()
    _, ((future, outcome),) = batch.end_attempt(BROKEN, 19.0, lambda: 0.0, sent=True)
    assert future == 1
    assert isinstance(outcome, OutcomeUnknownError)
    assert not batch.unanswered


@pytest.mark.parametrize(
    ("sent", "expected"), [(False, UnavailableError), (True, OutcomeUnknownError)]
)
def test_error_distinguishes_sent_and_unsent_requests(
    sent: bool, expected: type[SaldoError]
) -> None:
    batch = batch_of(1)
    batch.start_attempt()
    uuid = batch.unanswered[0].request.uuid
    _, ((_, outcome),) = batch.end_attempt(BROKEN, 11.0, lambda: 0.0, sent=sent)
    assert type(outcome) is expected
    assert outcome.uuid == uuid


def test_authentication_error_settles_each_request() -> None:
    batch = batch_of(2)
    batch.start_attempt()
    uuids = [item.request.uuid for item in batch.unanswered]
    denied = UnauthenticatedError("no")
    _, settled = batch.end_attempt(denied, 0.0, lambda: 0.0, sent=False)
    outcomes = [each.outcome for each in settled]
    assert all(isinstance(outcome, UnauthenticatedError) for outcome in outcomes)
    assert [outcome.uuid for outcome in outcomes if isinstance(outcome, SaldoError)] == uuids


def test_authentication_error_after_a_loss_is_unknown() -> None:
    batch = batch_of(1)
    batch.start_attempt()
    batch.end_attempt(BROKEN, 0.0, lambda: 0.0, sent=True)
    ((_, outcome),) = batch.feed(answers(batch.start_attempt(), ["forbidden"]), 0.0)
    assert isinstance(outcome, OutcomeUnknownError)
    fresh = batch_of(1)
    ((_, outcome),) = fresh.feed(answers(fresh.start_attempt(), ["forbidden"]), 0.0)
    assert isinstance(outcome, ForbiddenError)


@pytest.mark.parametrize("line", [b"no JSON\n", b"{}\n"])
def test_malformed_answer_line_is_rejected(line: bytes) -> None:
    batch = batch_of(1)
    batch.start_attempt()
    with pytest.raises(UnexpectedResponseError):
        batch.feed(line, 0.0)


def test_answer_about_another_transaction_is_rejected() -> None:
    batch, other = batch_of(1), batch_of(1)
    batch.start_attempt()
    with pytest.raises(UnexpectedResponseError, match="belongs to no line of the request"):
        batch.feed(answers(other.start_attempt()), 0.0)
