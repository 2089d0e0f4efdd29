"""Following the live stream, without I/O: where to go on, which events are new, how long to wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from saldo.client.calls import Query, events_query
from saldo.client.errors import SaldoError, UnavailableError, UnexpectedAnswerError
from saldo.client.models import Event, EventType, Instant, TransactionData, UserData
from saldo.client.requests import written_instant
from saldo.client.retry import Retries
from saldo.client.sse import Frame, Frames

EVENTS_PATH: Final = "/v1/events"
USER_CREATED: Final = "saldo.user.created"


class Following:
    """One follower's state.

    Attributes:
        position: behind the last event that was given out; "" until a position came.
    """

    def __init__(
        self,
        user_ids: Iterable[int] | None,
        types: Iterable[EventType] | None,
        start: Instant,
        timeout_seconds: float | None,
    ) -> None:
        self.position = ""
        self._filter = events_query(user_ids, types)
        self._start = written_instant(start)
        self._timeout_seconds = timeout_seconds
        self._frames = Frames()
        self._waiting: deque[Frame] = deque()
        # By shard, in which events come in the order of `seq`. Not by position: after a loss of the connection the
        # service may divide the same events otherwise, and what has come comes again on both sides of a position.
        self._reached: dict[int, int] = {}
        self._failed = 0
        self._failing_since: float | None = None
        self._retry_seconds = 0.0

    def begin(self) -> tuple[Query, dict[str, str]]:
        """The query and the headers to connect with; what a connection before had begun is forgotten."""
        self._frames = Frames()
        headers = {"accept": "text/event-stream"}
        if self.position:
            return self._filter, headers | {"last-event-id": self.position}
        return (*self._filter, ("from", self._start)), headers

    def take(self, data: bytes) -> None:
        """What comes; `events` gives it out.

        Raises:
            UnexpectedAnswerError: it is no live stream of Saldo.
        """
        self._failed, self._failing_since = 0, None
        try:
            self._waiting.extend(self._frames.take(data))
        except ValueError as error:
            raise _unreadable(error) from None

    def events(self) -> Iterator[Event]:
        """The events that have come and were not given out yet, without those that come again.

        Who stops taking them goes on with the next one later: the state moves with what is given out.

        Raises:
            UnexpectedAnswerError: there is one that is none. What came after it is forgotten, to be sent again.
        """
        while self._waiting:
            try:
                event = self._event(self._waiting.popleft())
            except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
                self._waiting.clear()
                raise _unreadable(error) from None
            if event is not None:
                yield event

    def lost(
        self, error: SaldoError | None, now: float, retries: Retries, chance: Callable[[], float]
    ) -> float:
        """How long to wait before connecting again.

        Args:
            error: what came instead of events; None: the connection was ended in good order.

        Raises:
            SaldoError: it is no use, or the time is up.
        """
        if error is not None and not isinstance(error, UnavailableError):
            raise error
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        asked = self._retry_seconds if error is None else error.retry_after_seconds
        pause = retries.pause(self._failed, chance(), asked or None)
        self._failed += 1
        if self._timeout_seconds is not None and now + pause - since >= self._timeout_seconds:
            raise error or UnavailableError("the live stream ends again and again")
        return pause

    def _event(self, frame: Frame) -> Event | None:
        if frame.retry_milliseconds is not None:
            self._retry_seconds = frame.retry_milliseconds / 1000
        position = frame.id or self.position
        event = None if frame.data is None else self._read(frame.data, position)
        self.position = position
        if event is None or event.data.seq <= self._reached.get(event.data.shard, -1):
            return None
        self._reached[event.data.shard] = event.data.seq
        return event

    def _read(self, data: str, position: str) -> Event:
        envelope: dict[str, Any] = msgspec.json.decode(data)
        type_: Any = UserData if envelope["type"] == USER_CREATED else TransactionData
        return Event(
            id=str(envelope["id"]),
            type=envelope["type"],
            time=msgspec.convert(envelope["time"], type=datetime),
            data=msgspec.convert(envelope["data"], type=type_),
            position=position,
        )


def _unreadable(error: Exception) -> UnexpectedAnswerError:
    return UnexpectedAnswerError(f"an event can't be read: {error}")
