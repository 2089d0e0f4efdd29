# Made of `saldo.client.asynchronous` by `python -m tests.client.twin`: change that, not this.
"""The events of the live stream, which are received while the caller iterates over them."""

from __future__ import annotations

import random
import time
from collections.abc import Iterator
from typing import Final

import httpx

from saldo.client.errors import SaldoError
from saldo.client.event_stream import EVENTS_PATH, EventStreamState
from saldo.client.models import Event
from saldo.client.responses import parse_error
from saldo.client.retry import create_no_response_error
from saldo.client.synchronous.concurrency import sleep
from saldo.client.synchronous.connection import Connection, read_response
from saldo.client.transport_errors import is_transport_failure

SILENCE_SECONDS_MAX: Final = 60.0
"""Maximum time without data before the connection counts as lost. The service sends a heartbeat every 15 seconds
by default."""


class Events:
    """An iterable of events. If the connection is lost, the iteration continues on a new one, without gaps or
    repetitions.

    A second iteration continues after the last event that the first one has yielded.
    """

    def __init__(self, connection: Connection, following: EventStreamState) -> None:
        self._connection = connection
        self._following = following

    @property
    def position(self) -> str:
        """The position to resume from once all yielded events are processed; "" until the service has sent a position.

        The position also advances when the service sends one without an event.
        """
        return self._following.position

    def __iter__(self) -> Iterator[Event]:
        following, retries = self._following, self._connection.retries
        timeout = httpx.Timeout(retries.attempt_seconds, read=SILENCE_SECONDS_MAX)
        # These events were received during an earlier iteration, which ended before it yielded them.
        yield from following.events()
        while True:
            query, headers = following.build_connection_request()
            ended: SaldoError | None = None
            streams = self._connection.streams
            try:
                with self._connection.stream(
                    "GET", EVENTS_PATH, headers, timeout, query, endless=True
                ) as response:
                    if response.status_code == 200:
                        for data in response.iter_bytes():
                            following.feed(data)
                            yield from following.events()
                            if self._connection.streams is not streams:
                                break  # the process has forked, and the stream belongs to the parent
                    else:
                        deadline = time.monotonic() + SILENCE_SECONDS_MAX
                        ended = parse_error(read_response(response, deadline))
            except httpx.RequestError as error:
                if not is_transport_failure(error):
                    raise
                ended = create_no_response_error(error)
            sleep(
                following.compute_reconnect_pause(ended, time.monotonic(), retries, random.random)
            )
