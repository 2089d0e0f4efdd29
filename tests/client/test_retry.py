"""Retries of a call: the generator alone, with a clock that only its own pauses move."""

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

from saldo.client import endpoints
from saldo.client.endpoints import Call, RetryRule
from saldo.client.errors import (
    BalanceAboveMaximumError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidError,
    NameTakenError,
    OutcomeUnknownError,
    RateLimitedError,
    RefusedError,
    SaldoError,
    UnavailableError,
    UnexpectedResponseError,
    UuidConflictError,
)
from saldo.client.models import Posted
from saldo.client.payloads import Deposit
from saldo.client.responses import CODES_WITHOUT_EFFECT, Response
from saldo.client.retry import NoResponse, Retries, Send, Sleep, retry_steps

RETRIES = Retries(timeout_seconds=10, attempt_seconds=4, pause_seconds=0.1, pause_seconds_max=2)
POSTING = endpoints.post(Deposit(1, 100))
ASKING = endpoints.user(1)
MAKING = endpoints.create_key("shop", ["read"], None, None, None)

USER = {"id": 1, "name": "user-7341", "balance": "0.00", "created_at": "2026-11-24T12:00:00+00:00"}
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

NOT_SENT = NoResponse(httpx.ConnectError("no"), may_have_been_sent=False)
BROKEN = NoResponse(httpx.ReadError("no more"), may_have_been_sent=True)


def answer(status: int, body: object, **headers: str) -> Response:
    return Response(
        status, {k.replace("_", "-"): v for k, v in headers.items()}, msgspec.json.encode(body)
    )


def problem(status: int, code: str, **headers: str) -> Response:
    return answer(status, {"status": status, "code": code, "detail": "so"}, **headers)


OVERLOADED = problem(503, "overloaded", retry_after="1")
UNKNOWN = problem(503, "outcome_unknown", retry_after="1")
CREATED = answer(201, {"id": 1, "name": "shop"})


@dataclass
class CallRecord:
    """The result of a call, its attempts and its pauses."""

    result: Any = None
    error: SaldoError | None = None
    sent: int = 0
    pauses: list[float] = field(default_factory=list)
    now: float = 0.0


def run(
    call: Call[Any],
    replies: Sequence[Response | NoResponse],
    *,
    chance: float = 1.0,
    took: float = 0.0,
) -> CallRecord:
    """Run the generator. The last reply repeats; each reply takes `took` seconds."""
    course = CallRecord()
    steps = retry_steps(call, RETRIES, lambda: course.now, lambda: chance)
    reply: Response | NoResponse | None = None
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
def test_invalid_retry_setting_is_rejected_by_name(name: str, value: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError)) as error:
        Retries(**{name: value})
    assert str(error.value) == message


def test_timeout_may_be_infinite() -> None:
    assert Retries(timeout_seconds=inf).timeout_seconds == inf


def test_answer_ends_the_call() -> None:
    course = run(ASKING, [answer(200, USER)])
    assert (course.sent, course.pauses, course.error) == (1, [], None)


@pytest.mark.parametrize("reply", [NOT_SENT, BROKEN, OVERLOADED, UNKNOWN, problem(500, "internal")])
def test_transaction_is_retried_after_every_kind_of_failure(reply: Response | NoResponse) -> None:
    course = run(POSTING, [reply, reply, answer(200, POSTED)])
    assert course.error is None
    assert course.sent == 3


def test_pauses_grow_to_their_maximum() -> None:
    course = run(ASKING, [NOT_SENT])
    assert course.pauses == pytest.approx([0.1, 0.2, 0.4, 0.8, 1.6, 2, 2, 2])
    assert isinstance(course.error, UnavailableError)
    assert isinstance(course.error.__cause__, httpx.ConnectError)


def test_retry_waits_for_retry_after() -> None:
    course = run(ASKING, [problem(429, "too_many_requests", retry_after="7"), answer(200, USER)])
    assert course.pauses == pytest.approx([7.1])
    assert course.error is None


def test_retry_after_beyond_the_timeout_fails_at_once() -> None:
    course = run(POSTING, [problem(429, "too_many_requests", retry_after="11")])
    assert isinstance(course.error, RateLimitedError)
    assert course.error.retry_after_seconds == 11
    assert (course.sent, course.now) == (1, 0)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [(NOT_SENT, UnavailableError), (OVERLOADED, UnavailableError), (BROKEN, OutcomeUnknownError)],
)
def test_final_error_distinguishes_known_and_unknown_outcomes(
    reply: Response | NoResponse, expected: type[SaldoError]
) -> None:
    error = run(POSTING, [reply]).error
    assert type(error) is expected
    assert error.uuid == POSTING.uuid


def test_one_attempt_with_a_possible_effect_makes_the_outcome_unknown() -> None:
    assert isinstance(run(POSTING, [BROKEN, NOT_SENT]).error, OutcomeUnknownError)
    assert type(run(ASKING, [BROKEN, NOT_SENT]).error) is UnavailableError


def test_authentication_error_after_a_lost_attempt_is_unknown() -> None:
    forbidden = problem(403, "forbidden")
    assert isinstance(run(POSTING, [forbidden]).error, ForbiddenError)
    assert isinstance(run(POSTING, [NOT_SENT, forbidden]).error, ForbiddenError)
    assert isinstance(run(POSTING, [BROKEN, forbidden]).error, OutcomeUnknownError)
    assert isinstance(run(ASKING, [BROKEN, forbidden]).error, ForbiddenError)


UNRECORDED = [
    problem(404, "user_not_found"),
    problem(422, "timestamp_in_future"),
    problem(422, "invalid"),
    problem(413, "body_too_large"),
    problem(401, "unauthenticated"),
]


@pytest.mark.parametrize("reply", UNRECORDED)
def test_unrecorded_refusal_after_a_lost_attempt_is_unknown(reply: Response) -> None:
    assert not isinstance(run(POSTING, [reply]).error, OutcomeUnknownError)
    assert not isinstance(run(POSTING, [NOT_SENT, reply]).error, OutcomeUnknownError)
    for lost in (BROKEN, UNKNOWN, Response(504, {}, b"")):
        error = run(POSTING, [lost, NOT_SENT, reply]).error
        assert isinstance(error, OutcomeUnknownError)
        assert (error.uuid, error.status) == (POSTING.uuid, reply.status)


@pytest.mark.parametrize(
    ("code", "status", "kind"),
    [
        ("insufficient_funds", 402, InsufficientFundsError),
        ("balance_above_maximum", 409, BalanceAboveMaximumError),
        ("uuid_conflict", 409, UuidConflictError),
    ],
)
def test_recorded_outcome_after_a_lost_attempt_is_final(
    code: str, status: int, kind: type[SaldoError]
) -> None:
    assert type(run(POSTING, [BROKEN, problem(status, code)]).error) is kind


def test_refused_atomic_array_after_a_lost_attempt_is_unknown() -> None:
    refused = answer(402, {"status": 402, "code": "insufficient_funds", "detail": "so", "item": 1})
    call = endpoints.post_atomic([Deposit(1, 1), Deposit(1, 2)])
    assert isinstance(run(call, [refused]).error, InsufficientFundsError)
    error = run(call, [BROKEN, refused]).error
    assert isinstance(error, OutcomeUnknownError)
    assert error.item == 1


def test_unrecorded_items_after_a_lost_attempt_are_unknown() -> None:
    reply = lines("posted", None)
    assert [type(each) for each in run(endpoints.post_many(MANY), [reply]).result] == [
        Posted,
        InvalidError,
    ]
    posted, unknown = run(endpoints.post_many(MANY), [BROKEN, reply]).result
    assert (type(posted), type(unknown)) == (Posted, OutcomeUnknownError)
    posted, refused = run(
        endpoints.post_many(MANY), [BROKEN, lines("posted", "insufficient_funds")]
    ).result
    assert (type(posted), type(refused)) == (Posted, InsufficientFundsError)


def test_unknown_outcome_is_not_a_subclass_of_unavailable() -> None:
    assert not issubclass(OutcomeUnknownError, UnavailableError)
    assert OutcomeUnknownError.__mro__[1] is SaldoError
    assert OutcomeUnknownError.__subclasses__() == []


def test_name_taken_after_a_lost_answer_may_be_ours() -> None:
    taken = answer(409, {"status": 409, "code": "name_taken", "detail": "so", "user_id": 7})
    courses: list[tuple[list[Response | NoResponse], bool]] = [
        ([taken], False),
        ([NOT_SENT, taken], False),
        ([BROKEN, taken], True),
    ]
    for replies, ours in courses:
        error = run(endpoints.create_user("user-7341"), replies).error
        assert isinstance(error, NameTakenError)
        assert (error.user_id, error.perhaps_ours) == (7, ours)


def test_call_that_is_not_idempotent_is_not_repeated() -> None:
    course = run(MAKING, [BROKEN, CREATED])
    assert isinstance(course.error, OutcomeUnknownError)
    assert course.sent == 1
    assert run(MAKING, [NOT_SENT, OVERLOADED, NOT_SENT, problem(422, "invalid")]).sent == 4


def test_decided_answer_is_not_retried() -> None:
    assert isinstance(run(POSTING, [problem(422, "invalid")]).error, InvalidError)
    assert isinstance(run(POSTING, [problem(500, "seal_broken")]).error, UnexpectedResponseError)
    assert isinstance(run(POSTING, [answer(302, "elsewhere")]).error, UnexpectedResponseError)
    assert isinstance(run(ASKING, [answer(200, "no user")]).error, UnexpectedResponseError)


def test_proxy_answer_after_a_lost_attempt_is_unknown() -> None:
    lost_way = Response(404, {"content-type": "text/html"}, b"<h1>Not Found</h1>")
    assert isinstance(run(POSTING, [lost_way]).error, UnexpectedResponseError)
    assert isinstance(run(POSTING, [NOT_SENT, lost_way]).error, UnexpectedResponseError)
    assert isinstance(run(ASKING, [BROKEN, lost_way]).error, UnexpectedResponseError)
    error = run(POSTING, [BROKEN, lost_way]).error
    assert isinstance(error, OutcomeUnknownError)
    assert (error.uuid, error.status) == (POSTING.uuid, 404)


def test_permanent_error_is_raised_unless_an_attempt_may_have_taken_effect() -> None:
    closed = NoResponse(RuntimeError("closed"), may_have_been_sent=False, is_final=True)
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
    unforeseen = NoResponse(TypeError("so"), may_have_been_sent=True, is_final=True)
    course = run(POSTING, [unforeseen])
    assert isinstance(course.error, OutcomeUnknownError)
    assert (course.sent, type(course.error.__cause__)) == (1, TypeError)


@pytest.mark.parametrize("body", ["no transaction", POSTED | {"uuid": str(UUID(int=1))}])
def test_answer_about_another_transaction_is_unknown(body: object) -> None:
    course = run(POSTING, [answer(200, body), answer(200, POSTED)])
    assert isinstance(course.error, OutcomeUnknownError)
    assert (course.error.uuid, course.sent) == (POSTING.uuid, 1)


MANY = [Deposit(1, 1), Deposit(1, 2)]


def lines(*codes: str | None, uuids: Sequence[UUID] = (), first: int = 1) -> Response:
    """Return the answer to `MANY`; a code of None gives a line without a readable uuid."""
    uuids = uuids or [each.uuid for each in MANY]
    items = []
    for number, (code, uuid) in enumerate(zip(codes, uuids, strict=False), start=first):
        line = {"line": number, "status": 200, "code": code or "invalid", "uuid": str(uuid)}
        if code == "posted":
            line |= {"balance": "1.00", "number": number, "replayed": False}
        elif code is None:
            line |= {"status": 422, "detail": "so", "uuid": None}
        else:
            line |= {"status": 402, "detail": "so"}
        items.append(line)
    return Response(200, {}, msgspec.json.encode(items))


STRANGERS = [UUID(int=1), UUID(int=2)]
BOTH = lines("posted", "posted")


def test_bulk_answers_have_the_uuids_of_their_items() -> None:
    course = run(endpoints.post_many(iter(MANY)), [lines("posted", None)])
    posted, wrong = course.result
    assert isinstance(posted, Posted)
    assert (posted.uuid, type(wrong)) == (MANY[0].uuid, InvalidError)
    course = run(endpoints.post_atomic(iter(MANY)), [BOTH])
    assert [each.uuid for each in course.result] == [each.uuid for each in MANY]


@pytest.mark.parametrize("call", [endpoints.post_many(MANY), endpoints.post_atomic(MANY)])
@pytest.mark.parametrize(
    "reply",
    [
        lines("posted", "posted", uuids=STRANGERS),
        lines("posted", "posted", uuids=[each.uuid for each in MANY[::-1]]),
        lines("posted", "posted", first=2),
        lines("posted", "posted", "posted", uuids=[*(each.uuid for each in MANY), STRANGERS[0]]),
        Response(
            200,
            {},
            b'[{"line":1,"status":200,"code":"posted","uuid":"%s"}]' % str(MANY[0].uuid).encode(),
        ),
        Response(200, {}, b'[{"line":1,"status":402,"code":"insufficient_funds"}]'),
    ],
)
def test_bulk_answer_about_other_transactions_is_unknown(call: Call[Any], reply: Response) -> None:
    course = run(call, [reply, BOTH])
    assert (type(course.error), course.sent) == (OutcomeUnknownError, 1)


@pytest.mark.parametrize("call", [endpoints.post_many(MANY), endpoints.post_atomic(MANY)])
@pytest.mark.parametrize("reply", [lines("posted"), lines()])
def test_incomplete_bulk_answer_is_retried(call: Call[Any], reply: Response) -> None:
    course = run(call, [reply, BOTH])
    assert course.error is None
    assert (course.sent, len(course.result)) == (2, 2)
    assert isinstance(run(call, [reply]).error, OutcomeUnknownError)


def test_partial_answer_to_an_atomic_array_is_unknown() -> None:
    course = run(endpoints.post_atomic(MANY), [lines("posted", "insufficient_funds")])
    assert isinstance(course.error, OutcomeUnknownError)


def test_balance_of_another_user_is_rejected() -> None:
    balance = {"user_id": 2, "balance": "1.00", "date": None, "before": None, "known_at": None}
    error = run(endpoints.balance(1, None, None, None), [answer(200, balance)]).error
    assert isinstance(error, UnexpectedResponseError)
    assert "user 2, not of 1" in str(error)


def test_bad_gateway_is_retried() -> None:
    gateway = Response(502, {"content-type": "text/html"}, b"<h1>Bad Gateway</h1>")
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
        problem(404, "user_not_found"),
        problem(402, "insufficient_funds"),
        problem(409, "uuid_conflict"),
        Response(504, {}, b""),
    ]
)


def may_be_done(reply: Response | NoResponse) -> bool:
    if isinstance(reply, NoResponse):
        return reply.may_have_been_sent
    try:
        code = msgspec.json.decode(reply.body)["code"]
    except msgspec.DecodeError:
        return True
    return code in {"outcome_unknown", "internal"} and code not in CODES_WITHOUT_EFFECT


@settings(deadline=None)
@given(
    st.sampled_from([POSTING, ASKING, MAKING]),
    st.lists(REPLIES, min_size=1, max_size=12),
    st.floats(0, 1),
    st.floats(0, 5),
)
def test_any_sequence_of_replies_gives_a_correct_result(
    call: Call[Any], replies: list[Response | NoResponse], chance: float, took: float
) -> None:
    course = run(call, replies, chance=chance, took=took)
    came = [replies[min(index, len(replies) - 1)] for index in range(course.sent)]
    assert course.error is not None
    # A request that may have had an effect is not sent again, unless a repetition has no further effect.
    if call.retry_rule is RetryRule.IF_NOT_PROCESSED:
        assert not any(may_be_done(reply) for reply in came[:-1])
    # The call ends in time, except for its last attempt.
    assert course.now <= RETRIES.timeout_seconds + RETRIES.attempt_seconds
    # The error says that nothing was done only if that is certain.
    unknown = not call.is_read and any(may_be_done(reply) for reply in came)
    # The last answer decides if no earlier one leaves the outcome open, or if it reports a recorded outcome.
    recorded = isinstance(course.error, RefusedError | UuidConflictError)
    if unknown and recorded:
        assert may_be_done(came[-1]) is False
    else:
        assert isinstance(course.error, OutcomeUnknownError) == unknown
        assert not (unknown and isinstance(course.error, UnavailableError))
    assert course.error.uuid == call.uuid


def test_uuid_is_created_with_the_request() -> None:
    request = Deposit(1, 100)
    assert isinstance(request.uuid, UUID)
    assert request.encode_body() == request.encode_body()
