"""Reading answers: results of a type, errors of a class."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeVar

import msgspec

from saldo.client.errors import (
    BalanceAboveMaximumError,
    ConflictError,
    ForbiddenError,
    InsufficientFundsError,
    InvalidError,
    NameTakenError,
    NotFoundError,
    PositionGoneError,
    RateLimitedError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
    UuidConflictError,
)
from saldo.client.models import Line, Posted, Problem

T = TypeVar("T")

CODES: Final[dict[str, type[SaldoError]]] = {
    "insufficient_funds": InsufficientFundsError,
    "balance_above_maximum": BalanceAboveMaximumError,
    "uuid_conflict": UuidConflictError,
    "name_taken": NameTakenError,
    "seal_broken": UnexpectedAnswerError,
    "not_sealed_yet": UnavailableError,
}
"""Where the status does not say enough."""

STATUSES: Final[dict[int, type[SaldoError]]] = {
    400: InvalidError,
    401: UnauthenticatedError,
    403: ForbiddenError,
    404: NotFoundError,
    405: InvalidError,
    408: UnavailableError,
    409: ConflictError,
    410: PositionGoneError,
    413: InvalidError,
    414: InvalidError,
    415: InvalidError,
    422: InvalidError,
    429: RateLimitedError,
    431: InvalidError,
    500: UnavailableError,
    502: UnavailableError,
    503: UnavailableError,
    504: UnavailableError,
}
"""What is `UnavailableError` here is asked again."""

UNDONE: Final = frozenset({"overloaded", "deadline_exceeded", "too_slow", "too_many_requests"})
"""Codes that say that this attempt has done nothing."""


class Answer(NamedTuple):
    """An answer that came whole. Names of headers are in lower case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Outcome(NamedTuple):
    """What a line of the answer to many says. again: why it is to be sent again; then `value` is the same."""

    value: Posted | SaldoError
    again: UnavailableError | None


def decoded(answer: Answer, type_: type[T], body: bytes | None = None) -> T:
    """The body as a value of a type.

    Raises:
        UnexpectedAnswerError: it isn't one.
    """
    try:
        return msgspec.json.decode(answer.body if body is None else body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedAnswerError(
            f"the answer (status {answer.status}) can't be read: {error}"
        ) from None


def error_of(answer: Answer) -> SaldoError:
    """What an answer with a status from 300 on means."""
    try:
        problem, members = _problem(answer.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        class_ = STATUSES.get(answer.status, UnexpectedAnswerError)
        # Only Saldo says such things of itself; whatever answers so is something in between.
        if not issubclass(class_, UnavailableError):
            class_ = UnexpectedAnswerError
        error: SaldoError = class_(
            f"an answer with status {answer.status} that is no problem of Saldo"
        )
        error.status = answer.status
    else:
        error = _error(problem, members)
    error.retry_after_seconds = retry_after(answer)
    return error


def outcome_of(line: Line, body: bytes) -> Outcome:
    """What became of one of many. body: the line as it came.

    Raises:
        UnexpectedAnswerError: it doesn't say.
    """
    if line.code == "posted":
        if line.uuid is None or line.balance is msgspec.UNSET or line.number is msgspec.UNSET:
            raise UnexpectedAnswerError("a line of the answer says posted, and not what")
        return Outcome(Posted(line.uuid, line.balance, line.number, line.replayed), None)
    try:
        error = _error(*_problem(body))
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise UnexpectedAnswerError(f"a line of the answer can't be read: {fault}") from None
    return Outcome(error, error if isinstance(error, UnavailableError) else None)


def retry_after(answer: Answer) -> float | None:
    """How long to wait, in seconds. A date, which Saldo doesn't write, is passed over."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _problem(body: bytes) -> tuple[Problem, dict[str, Any]]:
    return msgspec.json.decode(body, type=Problem), msgspec.json.decode(body)


def _error(problem: Problem, members: dict[str, Any]) -> SaldoError:
    class_ = CODES.get(problem.code) or STATUSES.get(problem.status, UnexpectedAnswerError)
    error = class_(f"{problem.code}: {problem.detail}", problem)
    error.details = members
    return error
