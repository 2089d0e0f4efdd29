"""The state of a subscriber of the live stream, without I/O: the position, the new events, and the backoff."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import datetime
from typing import Any, Final

import msgspec

from saldo.client.endpoints import Query, build_events_query
from saldo.client.errors import SaldoError, UnavailableError, UnexpectedResponseError
from saldo.client.models import Event, EventType, Instant, TransactionData, UserData
from saldo.client.payloads import format_time
from saldo.client.retry import Retries
from saldo.client.sse import Frame, FrameParser

EVENTS_PATH: Final = "/v1/events"
USER_CREATED: Final = "saldo.user.created"


class EventStreamState:
    """The state of one subscriber.

    Attributes:
        position: The position after the last event that was returned; "" until the stream has sent a position.
    """

    def __init__(
        self,
        user_ids: Iterable[int] | None,
        types: Iterable[EventType] | None,
        start: Instant,
        timeout_seconds: float | None,
    ) -> None:
        self.position = ""
        self._filter = build_events_query(user_ids, types)
        self._start = format_time(start)
        self._timeout_seconds = timeout_seconds
        self._frames = FrameParser()
        self._frames_received: deque[Frame] = deque()
        # The greatest `seq` that was returned, by shard. It identifies repeated events, because the events of a shard
        # come in the order of `seq`. A position can't be used for this. After a reconnect the service may group the
        # same events differently, and repeated events can then have positions before and after the stored one.
        self._reached: dict[int, int] = {}
        self._failed_attempts = 0
        self._failing_since: float | None = None
        self._retry_seconds = 0.0

    def build_connection_request(self) -> tuple[Query, dict[str, str]]:
        """Return the query and the headers for a new connection. An incomplete event of the previous connection is
        discarded."""
        self._frames = FrameParser()
        headers = {"accept": "text/event-stream"}
        if self.position:
            return self._filter, headers | {"last-event-id": self.position}
        return (*self._filter, ("from", self._start)), headers

    def feed(self, data: bytes) -> None:
        """Add data that was received. `events` returns the events in it.

        Raises:
            UnexpectedResponseError: The data is not a live stream of Saldo.
        """
        self._failed_attempts, self._failing_since = 0, None
        try:
            self._frames_received.extend(self._frames.feed(data))
        except ValueError as error:
            raise _build_unreadable_event_error(error) from None

    def events(self) -> Iterator[Event]:
        """Yield the events that were received and not yielded yet, without repeated ones.

        A consumer that stops the iteration can continue with the next event later, because the state advances with each
        event that is yielded.

        Raises:
            UnexpectedResponseError: An event can't be read. The data after it is discarded, and the service sends it
                again.
        """
        while self._frames_received:
            try:
                event = self._process_frame(self._frames_received.popleft())
            except (ValueError, KeyError, TypeError, msgspec.MsgspecError) as error:
                self._frames_received.clear()
                raise _build_unreadable_event_error(error) from None
            if event is not None:
                yield event

    def compute_reconnect_pause(
        self, error: SaldoError | None, now: float, retries: Retries, chance: Callable[[], float]
    ) -> float:
        """Return the time to wait before the next connection, in seconds.

        Args:
            error: The error that ended the connection; None if the service closed it normally.
            now: The current time of a monotonic clock, in seconds.
            chance: A function that returns a random number from 0 to 1.

        Raises:
            SaldoError: Another attempt would not help, or the timeout has passed.
        """
        if error is not None and not isinstance(error, UnavailableError):
            raise error
        since = self._failing_since = now if self._failing_since is None else self._failing_since
        retry_after_seconds = self._retry_seconds if error is None else error.retry_after_seconds
        pause = retries.compute_pause(self._failed_attempts, chance(), retry_after_seconds or None)
        self._failed_attempts += 1
        if self._timeout_seconds is not None and now + pause - since >= self._timeout_seconds:
            raise error or UnavailableError("the live stream ends repeatedly")
        return pause

    def _process_frame(self, frame: Frame) -> Event | None:
        if frame.retry_milliseconds is not None:
            self._retry_seconds = frame.retry_milliseconds / 1000
        position = frame.id or self.position
        event = None if frame.data is None else self._decode_event(frame.data, position)
        self.position = position
        if event is None or event.data.seq <= self._reached.get(event.data.shard, -1):
            return None
        self._reached[event.data.shard] = event.data.seq
        return event

    def _decode_event(self, data: str, position: str) -> Event:
        envelope: dict[str, Any] = msgspec.json.decode(data)
        type_: Any = UserData if envelope["type"] == USER_CREATED else TransactionData
        return Event(
            id=str(envelope["id"]),
            type=envelope["type"],
            time=msgspec.convert(envelope["time"], type=datetime),
            data=msgspec.convert(envelope["data"], type=type_),
            position=position,
        )


def _build_unreadable_event_error(error: Exception) -> UnexpectedResponseError:
    return UnexpectedResponseError(f"can't parse an event: {error}")
