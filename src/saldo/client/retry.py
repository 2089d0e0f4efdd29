"""When a call is sent again, and what it comes to in the end: a generator without I/O, clock or chance of its own.

It yields what is to be done (`Send`, `Sleep`) and is sent what came of it. The two clients only carry that out.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from copy import copy
from dataclasses import dataclass, fields
from itertools import count
from math import inf
from typing import Final, NamedTuple, TypeVar
from uuid import UUID

from saldo.client.answers import UNDONE, Answer, error_of
from saldo.client.calls import Call, Repeat
from saldo.client.errors import (
    ForbiddenError,
    NameTakenError,
    OutcomeUnknownError,
    SaldoError,
    UnauthenticatedError,
    UnavailableError,
    UnexpectedAnswerError,
)

T = TypeVar("T")

SECONDS_MAX: Final = 86_400
"""What an operating system waits for is bounded, too: far beyond this."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How long and how often.

    Attributes:
        timeout_seconds: for a call as a whole, with all its attempts and pauses. An answer that has begun to come in
            time may end a second later.
        attempt_seconds: how long an attempt waits for the network, each time it does.
        pause_seconds: the first pause is half to all of this long, each further one twice as long.
        pause_seconds_max: no pause is longer, unless the service asks for it.

    Raises:
        TypeError, ValueError: one is not so many seconds.
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
            # A call may go on for ever, a wait for the network must not: its end is what tells that it is broken.
            most = inf if name == "timeout_seconds" else SECONDS_MAX
            if not 0 <= value <= most or (value == 0 and name == "attempt_seconds"):
                least = "above 0" if name == "attempt_seconds" else "at least 0"
                bound = "" if most == inf else f" and at most {most:,}"
                raise ValueError(f"{name} must be {least}{bound} seconds, not {value!r}")

    def pause(self, attempt: int, chance: float, asked: float | None = None) -> float:
        """How long to wait before the next attempt.

        Args:
            attempt: how many have failed before the last, from 0.
            chance: from 0 to 1: clients that have failed together don't come back together.
            asked: what the service asks for; never less than that.
        """
        # Beyond 2**30 a float has long been at the maximum.
        longest = min(self.pause_seconds_max, self.pause_seconds * 2.0 ** min(attempt, 30))
        if asked is not None:
            return asked + chance * self.pause_seconds
        return (0.5 + chance / 2) * longest


LATE_SECONDS: Final = 1.0
"""An answer that comes is not thrown away for a moment; one that never ends is."""


class Send(NamedTuple):
    """Do: send the request. seconds: how long to wait for the network each time; seconds_max: for all of the answer."""

    seconds: float
    seconds_max: float


class Sleep(NamedTuple):
    """Do: wait."""

    seconds: float


class Lost(NamedTuple):
    """What came: nothing. sent: whether the service may have got the request. final: no other attempt mends it."""

    error: Exception
    sent: bool
    final: bool = False


Reply = Answer | Lost | None
Attempts = Generator[Send | Sleep, Reply, T]


def attempts(
    call: Call[T], retries: Retries, clock: Callable[[], float], chance: Callable[[], float]
) -> Attempts[T]:
    """Sends a call until it is decided, or the time is up; returns its result.

    Args:
        clock: seconds, that only go forward. chance: a random number from 0 to 1.

    Raises:
        SaldoError: what the service says; or `UnavailableError`, if it can't say anything.
        Exception: an attempt's own that is final, if no attempt may have had an effect.
    """
    deadline = clock() + retries.timeout_seconds
    what = f"{call.method} {call.path}"
    unknown = False
    for attempt in count():
        left = max(deadline - clock(), 0.001)
        reply = yield Send(min(retries.attempt_seconds, left), left + LATE_SECONDS)
        assert reply is not None
        try:
            return result(call, reply)
        except UnavailableError as error:
            sent = reply.sent if isinstance(reply, Lost) else maybe_done(error)
            unknown = unknown or (sent and not call.asks)
            final = reply.error if isinstance(reply, Lost) and reply.final else None
            if final is not None and not unknown:
                raise final from final.__cause__
            pause = retries.pause(attempt, chance(), error.retry_after_seconds)
            stuck = unknown and call.repeat is Repeat.UNDONE
            if final is not None or stuck or clock() + pause >= deadline:
                last = given_up(error, what, call.uuid, unknown=unknown)
                raise last from last.__cause__
        except SaldoError as error:
            # Somebody has taken it, and says something else of it than what has become of it.
            taken = isinstance(error, UnexpectedAnswerError) and _is_success(reply)
            last = told(error, what, call.uuid, unknown=unknown or (taken and not call.asks))
            raise last from last.__cause__
        yield Sleep(pause)
    raise AssertionError("counting never ends")


def result(call: Call[T], reply: Answer | Lost) -> T:
    """What one attempt has come to.

    Raises:
        UnavailableError: to be tried again.
        SaldoError: decided otherwise.
    """
    if isinstance(reply, Lost):
        raise lost(reply.error)
    if reply.status >= 300 and reply.status not in call.also:
        raise error_of(reply)
    return call.read(reply)


def _is_success(reply: Answer | Lost) -> bool:
    return isinstance(reply, Answer) and reply.status < 300


def lost(error: Exception) -> UnavailableError:
    """What an attempt without an answer has come to."""
    unavailable = UnavailableError(f"no answer: {type(error).__name__}: {error}")
    unavailable.__cause__ = error
    return unavailable


def maybe_done(error: SaldoError) -> bool:
    """Whether an attempt that was answered so may have had an effect, now or in a moment."""
    return isinstance(error, UnavailableError) and error.code not in UNDONE


def given_up(error: SaldoError, what: str, uuid: UUID | None, *, unknown: bool) -> SaldoError:
    """The last word when there is no more time.

    Args:
        error: of the last attempt.
        what: what may have been done.
        unknown: whether any attempt may have done it.
    """
    last = copy(error)
    if unknown:
        last = OutcomeUnknownError(f"it is not known whether {what} was done; last: {error}")
        last.code, last.status, last.request_id = error.code, error.status, error.request_id
        last.details, last.retry_after_seconds = error.details, error.retry_after_seconds
    last.__cause__ = error.__cause__
    last.uuid = error.uuid or uuid
    return last


def told(error: SaldoError, what: str, uuid: UUID | None, *, unknown: bool) -> SaldoError:
    """What the service has decided, in the light of the attempts before. Arguments as of `given_up`."""
    # Not let in any more, or a proxy's word: that says nothing of the attempt before, which perhaps was.
    if unknown and isinstance(error, UnauthenticatedError | ForbiddenError | UnexpectedAnswerError):
        return given_up(error, what, uuid, unknown=True)
    last = copy(error)
    if isinstance(last, NameTakenError):
        last.perhaps_ours = unknown
    last.__cause__ = error.__cause__
    last.uuid = error.uuid or uuid
    return last
