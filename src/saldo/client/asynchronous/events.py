"""The live stream, followed for as long as somebody takes from it."""

from __future__ import annotations

import random
import time
from collections.abc import AsyncIterator
from typing import Final

import httpx

from saldo.client.answers import error_of
from saldo.client.asynchronous.connection import AsyncConnection, whole
from saldo.client.asynchronous.running import sleep
from saldo.client.errors import SaldoError
from saldo.client.following import EVENTS_PATH, Following
from saldo.client.models import Event
from saldo.client.network import is_lost
from saldo.client.retry import lost

SILENCE_SECONDS_MAX: Final = 60.0
"""The service gives a sign of life every 15 seconds, or as its operator has set."""


class AsyncEvents:
    """Iterate over it. After a loss of the connection it goes on where it was, without a gap and without a repetition.

    Iterated over again, it goes on behind the last event that was taken.
    """

    def __init__(self, connection: AsyncConnection, following: Following) -> None:
        self._connection = connection
        self._following = following

    @property
    def position(self) -> str:
        """Where to resume when every event that was taken is done; "" until the first one came. It moves without
        events, too."""
        return self._following.position

    async def __aiter__(self) -> AsyncIterator[Event]:
        following, retries = self._following, self._connection.retries
        timeout = httpx.Timeout(retries.attempt_seconds, read=SILENCE_SECONDS_MAX)
        # Which came, and whoever iterated before didn't take.
        for event in following.events():
            yield event
        while True:
            query, headers = following.begin()
            ended: SaldoError | None = None
            streams = self._connection.streams
            try:
                async with self._connection.stream(
                    "GET", EVENTS_PATH, headers, timeout, query, endless=True
                ) as response:
                    if response.status_code == 200:
                        async for data in response.aiter_bytes():
                            following.take(data)
                            for event in following.events():
                                yield event
                            if self._connection.streams is not streams:
                                break  # this is another process, and the rest the other's
                    else:
                        deadline = time.monotonic() + SILENCE_SECONDS_MAX
                        ended = error_of(await whole(response, deadline))
            except httpx.RequestError as error:
                if not is_lost(error):
                    raise
                ended = lost(error)
            await sleep(following.lost(ended, time.monotonic(), retries, random.random))
