"""Many transactions on their way together, without I/O: what to send, what each line of the answer settles, what to
send again."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from saldo.client.answers import outcome_of
from saldo.client.errors import SaldoError, UnavailableError, UnexpectedAnswerError
from saldo.client.models import Line, Posted
from saldo.client.requests import Request
from saldo.client.retry import LATE_SECONDS, Retries, given_up, maybe_done, told

F = TypeVar("F")


class Item(Generic[F]):
    """A transaction, and who waits for its outcome.

    Attributes:
        line: as it is sent. Written at once: what can't be is the fault of who gives it, not of those beside it.
    """

    __slots__ = ("future", "line", "request")

    def __init__(self, request: Request, future: F) -> None:
        """
        Raises:
            TypeError, ValueError, OverflowError: the request can't be written.
        """
        self.request = request
        self.future = future
        self.line = request.body() + b"\n"


class Settled(NamedTuple, Generic[F]):
    """What became of an item."""

    future: F
    outcome: Posted | SaldoError


class Batch(Generic[F]):
    """Items that are sent in one request, and again until each is answered.

    Attributes:
        unanswered: in their order.
    """

    def __init__(self, items: Sequence[Item[F]], now: float, retries: Retries) -> None:
        self.unanswered: Sequence[Item[F]] = items
        self._retries = retries
        self._progress_at = now
        self._failed = 0
        self._unknown = False
        self._begun = b""
        self._open: dict[int, Item[F]] = {}
        self._again: UnavailableError | None = None

    @property
    def deadline(self) -> float:
        """When an answer that goes on without settling anything is given up."""
        return self._progress_at + self._retries.timeout_seconds + LATE_SECONDS

    def attempt(self) -> bytes:
        """The lines to send."""
        self._begun, self._again = b"", None
        self._open = dict(enumerate(self.unanswered, start=1))
        return b"".join(item.line for item in self.unanswered)

    def take(self, data: bytes, now: float) -> list[Settled[F]]:
        """What a piece of the answer settles.

        Raises:
            UnexpectedAnswerError: it is no answer of Saldo.
        """
        *ended, self._begun = (self._begun + data).split(b"\n")
        settled = [each for line in ended if line for each in self._line(line)]
        if settled:
            self._progress_at, self._failed = now, 0
        return settled

    def ended(
        self, error: SaldoError | None, now: float, chance: Callable[[], float], *, sent: bool
    ) -> tuple[float, list[Settled[F]]]:
        """After an attempt: how long to wait before the next, and what is settled because there is none.

        Args:
            error: what has ended it before its time; None: the answer has come to its end.
            sent: whether the service may have got the lines that it has not answered.
        """
        self.unanswered = list(self._open.values())
        if not self.unanswered:
            return 0.0, []
        if error is None:
            error = self._again or UnavailableError("the answer ended before its last line")
            sent = maybe_done(error)
        self._unknown = self._unknown or sent
        if not isinstance(error, UnavailableError):
            return 0.0, self._rest(error, told)
        pause = self._retries.pause(self._failed, chance(), error.retry_after_seconds)
        self._failed += 1
        if now + pause >= self._progress_at + self._retries.timeout_seconds:
            return 0.0, self._rest(error, given_up)
        return pause, []

    def _line(self, body: bytes) -> list[Settled[F]]:
        try:
            line = _decoder.decode(body)
            outcome = outcome_of(line, body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedAnswerError(f"a line of the answer can't be read: {error}") from None
        item = self._open.get(line.line)
        if item is None or line.uuid not in (item.request.uuid, None):
            raise UnexpectedAnswerError(
                f"line {line.line} of the answer is of no line that was sent"
            )
        if outcome.again is not None:
            self._again = outcome.again
            self._unknown = self._unknown or maybe_done(outcome.again)
            return []
        del self._open[line.line]
        value = outcome.value
        if isinstance(value, SaldoError):
            value = told(value, _WHAT, item.request.uuid, unknown=self._unknown)
        return [Settled(item.future, value)]

    def _rest(self, error: SaldoError, last_word: Callable[..., SaldoError]) -> list[Settled[F]]:
        rest, self.unanswered = self.unanswered, []
        unknown = self._unknown
        return [
            Settled(each.future, last_word(error, _WHAT, each.request.uuid, unknown=unknown))
            for each in rest
        ]


_WHAT = "POST /v1/transactions"
_decoder = msgspec.json.Decoder(Line)
