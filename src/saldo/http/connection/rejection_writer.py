"""Writer of rejections, in slices that take a limited share of the event loop's time.

If each rejection were written as soon as its request is read, heavy overload would do harm in two ways. First, a client
that has received a response sends its next request, and libuv continues to read while a thousand connections have data.
No other callback of the loop would then run for seconds, and all responses would be rejections. Second, rejections are
expensive where the kernel does the network's work on the same processor. There, rejections can take all of the
processor time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import Final, Protocol

TIME_SHARE: Final = 0.25
"""Maximum duration of a slice, as a fraction of the time since the end of the previous slice. Further rejections
wait."""

PAUSE_SECONDS: Final = 0.004
"""Minimum pause between two slices, in seconds. If the loop is busy, the pause is longer, and so is the next slice."""

SLICE_SECONDS_MAX: Final = 0.02
"""Maximum duration of a slice, in seconds. Other callbacks run after the slice."""

REJECTIONS_PER_CLOCK_READ: Final = 16
"""Number of rejections that are written between two reads of the clock."""


class RejectionTarget(Protocol):
    """The connection that a rejection is written to."""

    def flush(self) -> None:
        """Send the buffered data, or nothing if the client has disconnected."""


class RejectionWriter:
    """A queue of connections with unwritten rejections. Each connection is queued only once, so the number of
    connections limits the length of the queue."""

    __slots__ = ("_is_scheduled", "_loop", "_slice_ended_at", "_targets")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._targets: OrderedDict[RejectionTarget, None] = OrderedDict()
        self._slice_ended_at = 0.0
        self._is_scheduled = False

    def add(self, target: RejectionTarget) -> None:
        """Queue a connection whose buffered data is a rejection."""
        self._targets[target] = None
        if not self._is_scheduled:
            self._is_scheduled = True
            self._loop.call_soon(self._write_slice)

    def _write_slice(self) -> None:
        targets = self._targets
        began_at = now = perf_counter()
        end = began_at + min((began_at - self._slice_ended_at) * TIME_SHARE, SLICE_SECONDS_MAX)
        while targets and now < end:
            for _ in range(min(REJECTIONS_PER_CLOCK_READ, len(targets))):
                targets.popitem(last=False)[0].flush()
            now = perf_counter()
        self._slice_ended_at = now
        self._is_scheduled = bool(targets)
        if self._is_scheduled:
            self._loop.call_later(PAUSE_SECONDS, self._write_slice)
