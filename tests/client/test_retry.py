"""When a call is sent again: the generator alone, with a clock that only its own pauses move."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from math import inf, nan
from typing import Any
from uuid import UUID

import httpx
import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from saldo.client import calls
from saldo.client.answers import UNDONE, Answer
from saldo.client.calls import Call, Repeat
from saldo.client.errors import (
    ForbiddenError,
    InvalidError,
    NameTakenError,
    OutcomeUnknownError,
    RateLimitedError,
    SaldoError,
    UnavailableError,
    UnexpectedAnswerError,
)
from saldo.client.models import Posted
from saldo.client.requests import Deposit
from saldo.client.retry import Lost, Retries, Send, Sleep, attempts

RETRIES = Retries(timeout_seconds=10, attempt_seconds=4, pause_seconds=0.1, pause_seconds_max=2)
POSTING = calls.post(Deposit(1, 100))
ASKING = calls.user(1)
MAKING = calls.create_key("shop", ["read"], None, None, None)

USER = {"id": 1, "name": "Artem", "balance": "0.00", "created_at": "2026-11-24T12:00:00+00:00"}
POSTED = {
    "uuid": str(POSTING.uuid),
    "type": "DEPOSIT",
    "amount": "100.00",
    "user_id": 1,
    "timestamp": "2026-11-24T12:00:00+00:00",
    "outcome": "posted",
    "balance": "100.00",
    "number": 1,
    "recorded_at": "2026-11-24T12:00:00+00:00",
}

NOT_SENT = Lost(httpx.ConnectError("no"), sent=False)
BROKEN = Lost(httpx.ReadError("no more"), sent=True)


def answer(status: int, body: object, **headers: str) -> Answer:
    return Answer(
        status, {k.replace("_", "-"): v for k, v in headers.items()}, msgspec.json.encode(body)
    )


def problem(status: int, code: str, **headers: str) -> Answer:
    return answer(status, {"status": status, "code": code, "detail": "so"}, **headers)


OVERLOADED = problem(503, "overloaded", retry_after="1")
UNKNOWN = problem(503, "outcome_unknown", retry_after="1")
CREATED = answer(201, {"id": 1, "name": "shop"})


@dataclass
class Course:
    """What a call has come to, and how."""

    result: Any = None
    error: SaldoError | None = None
    sent: int = 0
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0


def run(
    call: Call[Any], replies: Sequence[Answer | Lost], *, chance: float = 1.0, took: float = 0.0
) -> Course:
    """Carries it out. The last reply comes again and again; each takes so many seconds."""
    course = Course()
    steps = attempts(call, RETRIES, lambda: course.now, lambda: chance)
    reply: Answer | Lost | None = None
    try:
        while True:
            match steps.send(reply):
                case Send(seconds):
                    assert 0 < seconds <= RETRIES.attempt_seconds
                    reply = replies[min(course.sent, len(replies) - 1)]
                    course.sent += 1
                    course.now += min(took, seconds)
                case Sleep(seconds):
                    reply = None
                    course.pauses.append(seconds)
                    course.now += seconds
    except StopIteration as ended:
        course.result = ended.value
    except SaldoError as error:
        course.error = error
    return course


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("timeout_seconds", None, "timeout_seconds must be a number of seconds, not None"),
        ("attempt_seconds", None, "attempt_seconds must be a number of seconds, not None"),
        ("pause_seconds", "1", "pause_seconds must be a number of seconds, not '1'"),
        ("pause_seconds_max", True, "pause_seconds_max must be a number of seconds, not True"),
        ("timeout_seconds", -1, "timeout_seconds must be at least 0 seconds, not -1"),
        ("timeout_seconds", nan, "timeout_seconds must be at least 0 seconds, not nan"),
        ("attempt_seconds", 0, "attempt_seconds must be above 0 and at most 86,400 seconds, not 0"),
        (
            "attempt_seconds",
            inf,
            "attempt_seconds must be above 0 and at most 86,400 seconds, not inf",
        ),
        (
            "pause_seconds",
            -0.5,
            "pause_seconds must be at least 0 and at most 86,400 seconds, not -0.5",
        ),
    ],
)
def test_what_is_no_time_is_refused_by_its_name(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        Retries(**{name: value})
    assert str(error.value) == message


def test_a_call_may_go_on_for_ever() -> None:
    assert Retries(timeout_seconds=inf).timeout_seconds == inf


def test_an_answer_is_the_end() -> None:
    course = run(ASKING, [answer(200, USER)])
    assert (course.sent, course.pauses, course.error) == (1, [], None)


@pytest.mark.parametrize("reply", [NOT_SENT, BROKEN, OVERLOADED, UNKNOWN, problem(500, "internal")])
def test_a_transaction_is_sent_again_whatever_became_of_it(reply: Answer | Lost) -> None:
    course = run(POSTING, [reply, reply, answer(200, POSTED)])
    assert course.error is None
    assert course.sent == 3


def test_pauses_grow_to_their_maximum() -> None:
    course = run(ASKING, [NOT_SENT])
    assert course.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])
    assert isinstance(course.error, UnavailableError)
    assert isinstance(course.error.__cause__, httpx.ConnectError)


def test_the_service_is_not_asked_before_it_wants_to_be() -> None:
    course = run(ASKING, [problem(429, "too_many_requests", retry_after="7"), answer(200, USER)])
    assert course.pauses == pytest.approx([7.1])
    assert course.error is None


def test_who_would_have_to_wait_too_long_is_told_at_once() -> None:
    course = run(POSTING, [problem(429, "too_many_requests", retry_after="11")])
    assert isinstance(course.error, RateLimitedError)
    assert course.error.retry_after_seconds == 11
    assert (course.sent, course.now) == (1, 0)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(NOT_SENT, UnavailableError), (OVERLOADED, UnavailableError), (BROKEN, OutcomeUnknownError)],
)
def test_what_is_known_in_the_end_is_told_apart(
    reply: Answer | Lost, expected: type[SaldoError]
) -> None:
    error = run(POSTING, [reply]).error
    assert type(error) is expected
    assert error.uuid == POSTING.uuid


def test_one_attempt_that_may_have_been_is_remembered() -> None:
    assert isinstance(run(POSTING, [BROKEN, NOT_SENT]).error, OutcomeUnknownError)
    assert type(run(ASKING, [BROKEN, NOT_SENT]).error) is UnavailableError


def test_who_is_not_let_in_any_more_does_not_know_what_became_of_it() -> None:
    forbidden = problem(403, "forbidden")
    assert isinstance(run(POSTING, [forbidden]).error, ForbiddenError)
    assert isinstance(run(POSTING, [NOT_SENT, forbidden]).error, ForbiddenError)
    assert isinstance(run(POSTING, [BROKEN, forbidden]).error, OutcomeUnknownError)
    assert isinstance(run(ASKING, [BROKEN, forbidden]).error, ForbiddenError)


def test_a_name_that_is_taken_after_a_lost_answer_may_be_ours() -> None:
    taken = answer(409, {"status": 409, "code": "name_taken", "detail": "so", "user_id": 7})
    courses: list[tuple[list[Answer | Lost], bool]] = [
        ([taken], False),
        ([NOT_SENT, taken], False),
        ([BROKEN, taken], True),
    ]
    for replies, ours in courses:
        error = run(calls.create_user("Artem"), replies).error
        assert isinstance(error, NameTakenError)
        assert (error.user_id, error.perhaps_ours) == (7, ours)


def test_what_would_have_an_effect_each_time_is_not_repeated() -> None:
    course = run(MAKING, [BROKEN, CREATED])
    assert isinstance(course.error, OutcomeUnknownError)
    assert course.sent == 1
    assert run(MAKING, [NOT_SENT, OVERLOADED, NOT_SENT, problem(422, "invalid")]).sent == 4


def test_what_is_decided_is_not_asked_again() -> None:
    assert isinstance(run(POSTING, [problem(422, "invalid")]).error, InvalidError)
    assert isinstance(run(POSTING, [problem(500, "seal_broken")]).error, UnexpectedAnswerError)
    assert isinstance(run(POSTING, [answer(302, "elsewhere")]).error, UnexpectedAnswerError)
    assert isinstance(run(ASKING, [answer(200, "no user")]).error, UnexpectedAnswerError)


def test_a_proxys_word_after_a_lost_answer_says_nothing_of_it() -> None:
    lost_way = Answer(404, {"content-type": "text/html"}, b"<h1>Not Found</h1>")
    assert isinstance(run(POSTING, [lost_way]).error, UnexpectedAnswerError)
    assert isinstance(run(POSTING, [NOT_SENT, lost_way]).error, UnexpectedAnswerError)
    assert isinstance(run(ASKING, [BROKEN, lost_way]).error, UnexpectedAnswerError)
    error = run(POSTING, [BROKEN, lost_way]).error
    assert isinstance(error, OutcomeUnknownError)
    assert (error.uuid, error.status) == (POSTING.uuid, 404)


def test_what_no_attempt_mends_is_raised_unless_something_may_have_been_done() -> None:
    closed = Lost(RuntimeError("closed"), sent=False, final=True)
    for call, replies in (
        (POSTING, [closed]),
        (POSTING, [NOT_SENT, closed]),
        (ASKING, [BROKEN, closed]),
    ):
        with pytest.raises(RuntimeError, match="closed"):
            run(call, replies)
    course = run(POSTING, [BROKEN, closed])
    assert isinstance(course.error, OutcomeUnknownError)
    assert (course.error.uuid, course.sent) == (POSTING.uuid, 2)
    unforeseen = Lost(TypeError("so"), sent=True, final=True)
    course = run(POSTING, [unforeseen])
    assert isinstance(course.error, OutcomeUnknownError)
    assert (course.sent, type(course.error.__cause__)) == (1, TypeError)


@pytest.mark.parametrize("body", ["no transaction", POSTED | {"uuid": str(UUID(int=1))}])
def test_who_is_told_of_something_else_does_not_know_what_became_of_it(body: object) -> None:
    course = run(POSTING, [answer(200, body), answer(200, POSTED)])
    assert isinstance(course.error, OutcomeUnknownError)
    assert (course.error.uuid, course.sent) == (POSTING.uuid, 1)


MANY = [Deposit(1, 1), Deposit(1, 2)]


def lines(*codes: str | None, uuids: Sequence[UUID] = (), first: int = 1) -> Answer:
    """The answer to `MANY`; None: not even a uuid that can be read."""
    uuids = uuids or [each.uuid for each in MANY]
    body = b""
    for number, (code, uuid) in enumerate(zip(codes, uuids, strict=False), start=first):
        line = {"line": number, "status": 200, "code": code or "invalid", "uuid": str(uuid)}
        if code == "posted":
            line |= {"balance": "1.00", "number": number, "replayed": False}
        elif code is None:
            line |= {"status": 422, "detail": "so", "uuid": None}
        else:
            line |= {"status": 402, "detail": "so"}
        body += msgspec.json.encode(line) + b"\n"
    return Answer(200, {}, body)


STRANGERS = [UUID(int=1), UUID(int=2)]
BOTH = lines("posted", "posted")


def test_many_are_each_answered_with_their_own_uuid() -> None:
    course = run(calls.post_many(iter(MANY)), [lines("posted", None)])
    posted, wrong = course.result
    assert isinstance(posted, Posted)
    assert (posted.uuid, type(wrong)) == (MANY[0].uuid, InvalidError)
    course = run(calls.post_atomic(iter(MANY)), [BOTH])
    assert [each.uuid for each in course.result] == [each.uuid for each in MANY]


@pytest.mark.parametrize("call", [calls.post_many(MANY), calls.post_atomic(MANY)])
@pytest.mark.parametrize(
    "reply",
    [
        lines("posted", "posted", uuids=STRANGERS),
        lines("posted", "posted", uuids=[each.uuid for each in MANY[::-1]]),
        lines("posted", "posted", first=2),
        lines("posted", "posted", "posted", uuids=[*(each.uuid for each in MANY), STRANGERS[0]]),
        Answer(
            200,
            {},
            b'{"line":1,"status":200,"code":"posted","uuid":"%s"}\n' % str(MANY[0].uuid).encode(),
        ),
        Answer(200, {}, b'{"line":1,"status":402,"code":"insufficient_funds"}\n'),
    ],
)
def test_an_answer_about_others_leaves_unknown_what_became_of_many(
    call: Call[Any], reply: Answer
) -> None:
    course = run(call, [reply, BOTH])
    assert (type(course.error), course.sent) == (OutcomeUnknownError, 1)


@pytest.mark.parametrize("call", [calls.post_many(MANY), calls.post_atomic(MANY)])
@pytest.mark.parametrize("reply", [lines("posted"), lines()])
def test_many_of_which_some_are_not_answered_are_sent_again(call: Call[Any], reply: Answer) -> None:
    course = run(call, [reply, BOTH])
    assert course.error is None
    assert (course.sent, len(course.result)) == (2, 2)
    assert isinstance(run(call, [reply]).error, OutcomeUnknownError)


def test_all_or_nothing_is_not_a_part() -> None:
    course = run(calls.post_atomic(MANY), [lines("posted", "insufficient_funds")])
    assert isinstance(course.error, OutcomeUnknownError)


def test_the_balance_of_another_user_is_not_believed() -> None:
    balance = {"user_id": 2, "balance": "1.00", "date": None, "before": None, "known_at": None}
    error = run(calls.balance(1, None, None, None), [answer(200, balance)]).error
    assert isinstance(error, UnexpectedAnswerError)
    assert "user 2, not of 1" in str(error)


def test_a_gateway_without_a_service_is_asked_again() -> None:
    gateway = Answer(502, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>")
    assert run(POSTING, [gateway, answer(200, POSTED)]).error is None
    assert isinstance(run(POSTING, [gateway]).error, OutcomeUnknownError)


REPLIES = st.sampled_from(
    [
        NOT_SENT,
        BROKEN,
        OVERLOADED,
        UNKNOWN,
        problem(503, "deadline_exceeded"),
        problem(429, "too_many_requests", retry_after="3"),
        problem(500, "internal"),
        problem(403, "forbidden"),
        problem(422, "invalid"),
        Answer(504, {}, b""),
    ]
)


def may_be_done(reply: Answer | Lost) -> bool:
    if isinstance(reply, Lost):
        return reply.sent
    try:
        code = msgspec.json.decode(reply.body)["code"]
    except msgspec.DecodeError:
        return True
    return code in {"outcome_unknown", "internal"} and code not in UNDONE


@settings(deadline=None)
@given(
    st.sampled_from([POSTING, ASKING, MAKING]),
    st.lists(REPLIES, min_size=1, max_size=12),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_whatever_comes(
    call: Call[Any], replies: list[Answer | Lost], chance: float, took: float
) -> None:
    course = run(call, replies, chance=chance, took=took)
    came = [replies[min(index, len(replies) - 1)] for index in range(course.sent)]
    assert course.error is not None
    # Nothing that repeats its effect is sent after what may have had one.
    if call.repeat is Repeat.UNDONE:
        assert not any(may_be_done(reply) for reply in came[:-1])
    # It is over in time, but for the last attempt.
    assert course.now <= RETRIES.timeout_seconds + RETRIES.attempt_seconds
    # "It was not done" is only said if that is sure.
    unknown = not call.asks and any(may_be_done(reply) for reply in came)
    decided = isinstance(course.error, InvalidError)
    assert isinstance(course.error, OutcomeUnknownError) == (unknown and not decided)
    assert course.error.uuid == call.uuid


def test_the_uuid_is_made_before_the_first_attempt() -> None:
    request = Deposit(1, 100)
    assert isinstance(request.uuid, UUID)
    assert request.body() == request.body()
