"""Decoding of responses into results and errors."""

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
    UnexpectedResponseError,
    UuidConflictError,
)
from saldo.client.models import Line, Posted, Problem

T = TypeVar("T")

ERRORS_BY_CODE: Final[dict[str, type[SaldoError]]] = {
    "insufficient_funds": InsufficientFundsError,
    "balance_above_maximum": BalanceAboveMaximumError,
    "uuid_conflict": UuidConflictError,
    "name_taken": NameTakenError,
    "seal_broken": UnexpectedResponseError,
    "not_sealed_yet": UnavailableError,
}
"""Error classes of the codes whose status is not specific enough."""

ERRORS_BY_STATUS: Final[dict[int, type[SaldoError]]] = {
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
"""Error classes by status. A request that fails with an `UnavailableError` is retried."""

CODES_WITHOUT_EFFECT: Final = frozenset(
    {"overloaded", "deadline_exceeded", "too_slow", "too_many_requests"}
)
"""Codes that mean that this attempt had no effect."""


class Response(NamedTuple):
    """A complete response. The names of headers are in lower case.

    Attributes:
        note: Text for messages about a response that is not Saldo's. It names the proxy that the response came through.
    """

    status: int
    headers: Mapping[str, str]
    body: bytes
    note: str = ""


class LineOutcome(NamedTuple):
    """The content of one line of a bulk response.

    Attributes:
        retry_reason: The error because of which the item must be sent again; `value` is then the same error. None if
            the item is decided.
    """

    value: Posted | SaldoError
    retry_reason: UnavailableError | None


def decode_body(response: Response, type_: type[T], body: bytes | None = None) -> T:
    """Decode the body as a value of the type.

    Raises:
        UnexpectedResponseError: The body is not such a value.
    """
    try:
        return msgspec.json.decode(response.body if body is None else body, type=type_)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise UnexpectedResponseError(
            f"the response (status {response.status}) can't be parsed: {error}{response.note}"
        ) from None


def parse_error(response: Response) -> SaldoError:
    """Return the error that a response with a status of 300 or above stands for."""
    try:
        problem, members = _decode_problem(response.body)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        class_ = ERRORS_BY_STATUS.get(response.status, UnexpectedResponseError)
        # Only Saldo itself reports such errors, as problems. A response without a problem comes from a proxy.
        if not issubclass(class_, UnavailableError):
            class_ = UnexpectedResponseError
        error: SaldoError = class_(
            f"a response with status {response.status} that is not an error response of Saldo{response.note}"
        )
        error.status = response.status
    else:
        error = _create_error(problem, members)
    error.retry_after_seconds = parse_retry_after(response)
    return error


def parse_outcome(line: Line, body: bytes) -> LineOutcome:
    """Return the outcome of one item of a bulk request.

    Args:
        body: The line as it was received.

    Raises:
        UnexpectedResponseError: The line can't be read, or contains no outcome.
    """
    if line.code == "posted":
        if line.uuid is None or line.balance is msgspec.UNSET or line.number is msgspec.UNSET:
            raise UnexpectedResponseError(
                "a line of the response says posted, but contains no transaction"
            )
        return LineOutcome(Posted(line.uuid, line.balance, line.number, line.replayed), None)
    try:
        error = _create_error(*_decode_problem(body))
    except (msgspec.MsgspecError, UnicodeDecodeError) as fault:
        raise UnexpectedResponseError(f"can't parse a line of the response: {fault}") from None
    return LineOutcome(error, error if isinstance(error, UnavailableError) else None)


def parse_retry_after(response: Response) -> float | None:
    """Return the time to wait from `Retry-After`, in seconds. A date, which Saldo never sends, is ignored."""
    text = response.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _decode_problem(body: bytes) -> tuple[Problem, dict[str, Any]]:
    return msgspec.json.decode(body, type=Problem), msgspec.json.decode(body)


def _create_error(problem: Problem, members: dict[str, Any]) -> SaldoError:
    class_ = ERRORS_BY_CODE.get(problem.code) or ERRORS_BY_STATUS.get(
        problem.status, UnexpectedResponseError
    )
    error = class_(f"{problem.code}: {problem.detail}", problem)
    error.details = members
    return error
