"""The retry logic of a call, as a generator without I/O, clock or randomness of its own.

It yields the next action (`Send`, `Sleep`), and its caller sends back the result. The two clients only execute these
actions.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import copy
from dataclasses import dataclass, fields
from itertools import count
from math import inf
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from saldo.client.endpoints import Call, RetryRule
from saldo.client.errors import (
    NameTakenError,
    OutcomeUnknownError,
    RefusedError,
    SaldoError,
    UnavailableError,
    UnexpectedResponseError,
    UuidConflictError,
)
from saldo.client.responses import CODES_WITHOUT_EFFECT, Response, parse_error

T = TypeVar("T")

SECONDS_MAX: Final = 86_400
"""Maximum of each wait for the network, in seconds. It is far below what operating systems accept."""


@dataclass(frozen=True, slots=True)
class Retries:
    """Timeouts and backoff of calls.

    Attributes:
        timeout_seconds: The timeout of a call, with all its attempts and pauses. A response that has begun in time may
            end up to a second later.
        attempt_seconds: The timeout of each wait for the network within an attempt.
        pause_seconds: The maximum of the first pause. A pause is random, between half of its maximum and the maximum.
            The maximum doubles with each attempt.
        pause_seconds_max: The maximum of every pause, unless the service asks for a longer one.

    Raises:
        TypeError, ValueError: A value is not a valid number of seconds.
    """

    timeout_seconds: float = 60.0
    attempt_seconds: float = 15.0
    pause_seconds: float = 0.1
    pause_seconds_max: float = 5.0

    def __post_init__(self) -> None:
        for field in fields(self):
            name, value = field.name, getattr(self, field.name)
            if isinstance(value, bool) or not isinstance(value, int | float):
                raise TypeError(f"{name} must be a number of seconds, not {value!r}")
            # A call may last for ever, but a wait for the network must end, because only its timeout detects a broken
            # connection.
            most = inf if name == "timeout_seconds" else SECONDS_MAX
            if not 0 <= value <= most or (value == 0 and name == "attempt_seconds"):
                least = "above 0" if name == "attempt_seconds" else "at least 0"
                bound = "" if most == inf else f" and at most {most:,}"
                raise ValueError(f"{name} must be {least}{bound} seconds, not {value!r}")

    def compute_pause(
        self, attempt: int, chance: float, retry_after_seconds: float | None = None
    ) -> float:
        """Return the time to wait before the next attempt, in seconds.

        Args:
            attempt: The number of failed attempts before the last one, from 0.
            chance: A random number from 0 to 1, so that clients that failed together do not retry together.
            retry_after_seconds: The time that the service asks for, in seconds. The result is never less than this
                time.
        """
        # After 30 doublings the pause has long reached its maximum, and larger exponents would overflow the float.
        longest = min(self.pause_seconds_max, self.pause_seconds * 2.0 ** min(attempt, 30))
        if retry_after_seconds is not None:
            return retry_after_seconds + chance * self.pause_seconds
        return (0.5 + chance / 2) * longest


GRACE_SECONDS: Final = 1.0
"""Extra time for a response that is still arriving at the deadline, in seconds. After that time the response is
aborted."""


class Send(NamedTuple):
    """The action to send the request.

    Attributes:
        seconds: The timeout of each wait for the network.
        seconds_max: The timeout of the whole response.
    """

    seconds: float
    seconds_max: float


class Sleep(NamedTuple):
    """The action to wait."""

    seconds: float


class NoResponse(NamedTuple):
    """The result of an attempt without a response.

    Attributes:
        may_have_been_sent: Whether the service may have received the request.
        is_final: Whether further attempts are useless.
    """

    error: Exception
    may_have_been_sent: bool
    is_final: bool = False


Reply = Response | NoResponse | None
Attempts = Generator[Send | Sleep, Reply, T]


def retry_steps(
    call: Call[T], retries: Retries, clock: Callable[[], float], chance: Callable[[], float]
) -> Attempts[T]:
    """Send a call until it is decided or the timeout has passed, and return its result.

    Args:
        clock: Returns the time of a monotonic clock, in seconds.
        chance: Returns a random number from 0 to 1.

    Raises:
        SaldoError: The service returned an error, or could not be reached (`UnavailableError`).
        Exception: An attempt has failed with this exception, further attempts are useless, and no attempt can have had
            an effect.
    """
    deadline = clock() + retries.timeout_seconds
    operation = f"{call.method} {call.path}"
    unknown = False
    for attempt in count():
        seconds_left = max(deadline - clock(), 0.001)
        reply = yield Send(min(retries.attempt_seconds, seconds_left), seconds_left + GRACE_SECONDS)
        assert reply is not None
        try:
            return _adjust_results(read_reply(call, reply), operation, unknown=unknown)
        except UnavailableError as error:
            sent = (
                reply.may_have_been_sent
                if isinstance(reply, NoResponse)
                else may_have_effect(error)
            )
            unknown = unknown or (sent and not call.is_read)
            final = reply.error if isinstance(reply, NoResponse) and reply.is_final else None
            if final is not None and not unknown:
                raise final from final.__cause__
            pause = retries.compute_pause(attempt, chance(), error.retry_after_seconds)
            stuck = unknown and call.retry_rule is RetryRule.IF_NOT_PROCESSED
            if final is not None or stuck or clock() + pause >= deadline:
                last = create_final_error(error, operation, call.uuid, unknown=unknown)
                raise last from last.__cause__
        except SaldoError as error:
            # The request was accepted, but the response does not contain its result.
            accepted = isinstance(error, UnexpectedResponseError) and _is_success(reply)
            last = adjust_error(
                error, operation, call.uuid, unknown=unknown or (accepted and not call.is_read)
            )
            raise last from last.__cause__
        yield Sleep(pause)
    raise AssertionError("unreachable")


def read_reply(call: Call[T], reply: Response | NoResponse) -> T:
    """Return the result of one attempt.

    Raises:
        UnavailableError: The call may be tried again.
        SaldoError: The call has failed.
    """
    if isinstance(reply, NoResponse):
        raise create_no_response_error(reply.error)
    if reply.status >= 300 and reply.status not in call.accepted_statuses:
        raise parse_error(reply)
    return call.read(reply)


def _adjust_results(value: T, operation: str, *, unknown: bool) -> T:
    """Return a result. If it is a list of outcomes and an earlier attempt may have had an effect, its errors are
    adjusted by `adjust_error`."""
    if unknown and isinstance(value, list):
        value[:] = [
            adjust_error(each, operation, each.uuid, unknown=True)
            if isinstance(each, SaldoError)
            else each
            for each in value
        ]
    return value


def _is_recorded(error: SaldoError) -> bool:
    """Return whether an error is a recorded outcome, which an earlier attempt that is still running can't change."""
    if isinstance(error, RefusedError):
        return error.item is None  # an error of an atomic array records nothing
    return isinstance(error, UuidConflictError | NameTakenError)


def _is_success(reply: Response | NoResponse) -> bool:
    return isinstance(reply, Response) and reply.status < 300


def create_no_response_error(error: Exception) -> UnavailableError:
    """Return the error of an attempt without a response."""
    unavailable = UnavailableError(f"no response: {type(error).__name__}: {error}")
    unavailable.__cause__ = error
    return unavailable


def may_have_effect(error: SaldoError) -> bool:
    """Return whether an attempt with this error may have had an effect, or may still have one."""
    return isinstance(error, UnavailableError) and error.code not in CODES_WITHOUT_EFFECT


def create_final_error(
    error: SaldoError, operation: str, uuid: UUID | None, *, unknown: bool
) -> SaldoError:
    """Return the error to raise when no time is left for another attempt.

    Args:
        error: The error of the last attempt.
        operation: The operation that may have been executed.
        unknown: Whether any attempt may have executed it.
    """
    last = copy(error)
    if unknown:
        last = OutcomeUnknownError(
            f"the outcome of {operation} is unknown; the last error: {error}"
        )
        last.code, last.status, last.request_id = error.code, error.status, error.request_id
        last.item = error.item
        last.details, last.retry_after_seconds = error.details, error.retry_after_seconds
    last.__cause__ = error.__cause__
    last.uuid = error.uuid or uuid
    return last


def adjust_error(
    error: SaldoError, operation: str, uuid: UUID | None, *, unknown: bool
) -> SaldoError:
    """Return the error to raise for a decision of the service, adjusted for the earlier attempts.

    The arguments are those of `create_final_error`.
    """
    # Only a recorded outcome is final. "No such user", for example, was true when it was returned, but an earlier
    # attempt may be executed later. A missing permission or the response of a proxy says nothing about the outcome.
    if unknown and not _is_recorded(error):
        return create_final_error(error, operation, uuid, unknown=True)
    last = copy(error)
    if isinstance(last, NameTakenError):
        last.perhaps_ours = unknown
    last.__cause__ = error.__cause__
    last.uuid = error.uuid or uuid
    return last
