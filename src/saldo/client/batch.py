"""A bulk request as a stream of lines, without I/O: the lines to send, the outcomes, and the retries."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Generic, NamedTuple, TypeVar

import msgspec

from saldo.client.errors import SaldoError, UnavailableError, UnexpectedResponseError
from saldo.client.models import Line, Posted
from saldo.client.payloads import TransactionRequest
from saldo.client.responses import parse_outcome
from saldo.client.retry import (
    GRACE_SECONDS,
    Retries,
    adjust_error,
    create_final_error,
    may_have_effect,
)

F = TypeVar("F")


class Item(Generic[F]):
    """A transaction, and the future that gets its outcome.

    Attributes:
        line: The transaction as it is sent. It is encoded when the item is created, so that an invalid transaction
            raises an error in its caller and does not fail the whole batch.
    """

    __slots__ = ("future", "line", "request")

    def __init__(self, request: TransactionRequest, future: F) -> None:
        """
        Raises:
            TypeError, ValueError, OverflowError: The request can't be encoded.
        """
        self.request = request
        self.future = future
        self.line = request.encode_body() + b"\n"


class ItemOutcome(NamedTuple, Generic[F]):
    """The outcome of an item."""

    future: F
    outcome: Posted | SaldoError


class BulkRequest(Generic[F]):
    """Items that are sent in one request.

    Unanswered items are sent again until all are answered, the time is over, or an error is final. In the last two
    cases, the remaining items get the error.

    Attributes:
        unanswered: The items without an outcome, in their order.
    """

    def __init__(self, items: Sequence[Item[F]], now: float, retries: Retries) -> None:
        self.unanswered: Sequence[Item[F]] = items
        self._retries = retries
        self._progress_at = now
        self._failed_attempts = 0
        self._unknown = False
        self._partial_line = b""
        self._pending_by_line: dict[int, Item[F]] = {}
        self._retry_reason: UnavailableError | None = None

    @property
    def deadline(self) -> float:
        """The time at which a response without progress is aborted, by the clock of `now`."""
        return self._progress_at + self._retries.timeout_seconds + GRACE_SECONDS

    def start_attempt(self) -> bytes:
        """Start an attempt, and return the lines to send."""
        self._partial_line, self._retry_reason = b"", None
        self._pending_by_line = dict(enumerate(self.unanswered, start=1))
        return b"".join(item.line for item in self.unanswered)

    def feed(self, data: bytes, now: float) -> list[ItemOutcome[F]]:
        """Process a piece of the response, and return the outcomes of the lines that it completes.

        Raises:
            UnexpectedResponseError: The response is not Saldo's.
        """
        *lines, self._partial_line = (self._partial_line + data).split(b"\n")
        settled = [each for line in lines if line for each in self._read_line(line)]
        if settled:
            self._progress_at, self._failed_attempts = now, 0
        return settled

    def end_attempt(
        self, error: SaldoError | None, now: float, chance: Callable[[], float], *, sent: bool
    ) -> tuple[float, list[ItemOutcome[F]]]:
        """End an attempt, and decide whether there is another one.

        Args:
            error: The error that interrupted the response; None if the response is complete.
            now: The current time of a monotonic clock, in seconds.
            chance: A function that returns a random number from 0 to 1.
            sent: Whether the service may have received the lines that it has not answered.

        Returns:
            (seconds to wait, no outcomes) if the unanswered items are to be sent again. Otherwise (0, the outcomes of
            the items that stay unanswered); there are none if every item was answered.
        """
        self.unanswered = list(self._pending_by_line.values())
        if not self.unanswered:
            return 0.0, []
        if error is None:
            error = self._retry_reason or UnavailableError(
                "the response ended before its last line"
            )
            sent = may_have_effect(error)
        self._unknown = self._unknown or sent
        if not isinstance(error, UnavailableError):
            return 0.0, self._fail_unanswered(error, adjust_error)
        pause = self._retries.compute_pause(
            self._failed_attempts, chance(), error.retry_after_seconds
        )
        self._failed_attempts += 1
        if now + pause >= self._progress_at + self._retries.timeout_seconds:
            return 0.0, self._fail_unanswered(error, create_final_error)
        return pause, []

    def _read_line(self, body: bytes) -> list[ItemOutcome[F]]:
        try:
            line = _decoder.decode(body)
            outcome = parse_outcome(line, body)
        except (msgspec.MsgspecError, UnicodeDecodeError) as error:
            raise UnexpectedResponseError(f"can't parse a line of the response: {error}") from None
        item = self._pending_by_line.get(line.line)
        if item is None or line.uuid not in (item.request.uuid, None):
            raise UnexpectedResponseError(
                f"line {line.line} of the response belongs to no line of the request"
            )
        if outcome.retry_reason is not None:
            self._retry_reason = outcome.retry_reason
            self._unknown = self._unknown or may_have_effect(outcome.retry_reason)
            return []
        del self._pending_by_line[line.line]
        value = outcome.value
        if isinstance(value, SaldoError):
            value = adjust_error(value, _WHAT, item.request.uuid, unknown=self._unknown)
        return [ItemOutcome(item.future, value)]

    def _fail_unanswered(
        self, error: SaldoError, adjust: Callable[..., SaldoError]
    ) -> list[ItemOutcome[F]]:
        unanswered, self.unanswered = self.unanswered, []
        unknown = self._unknown
        return [
            ItemOutcome(each.future, adjust(error, _WHAT, each.request.uuid, unknown=unknown))
            for each in unanswered
        ]


_WHAT = "POST /v1/transactions"
_decoder = msgspec.json.Decoder(Line)
