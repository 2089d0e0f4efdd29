"""Writer of rejections, in slices that take a limited share of the event loop's time.

Rejections that are written immediately, where the request is read, do harm in two ways under heavy overload. A client
that has a response sends its next request, and libuv continues to read as long as a thousand connections have data. In
that state no other callback of the loop ran for seconds, and all responses were rejections. And where a rejection is
expensive, because the network's work is done on the same processor, rejections can take all of the time.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from time import perf_counter
from typing import Final, Protocol

TIME_SHARE: Final = 0.25
"""Maximum duration of a slice as a fraction of the time since the slice before. Further rejections wait."""

PAUSE_SECONDS: Final = 0.004
"""Pause between two slices in seconds. If the loop is busy, the pause is longer and the next slice larger."""

SLICE_SECONDS_MAX: Final = 0.02
"""Maximum duration of a slice in seconds, before other callbacks run."""

REJECTIONS_PER_CLOCK_READ: Final = 16
"""Number of rejections that are written between two reads of the clock."""


class RejectionTarget(Protocol):
    """The connection that a rejection is written to."""

    def flush(self) -> None:
        """Send the buffered data, or nothing if the client has disconnected."""


class RejectionWriter:
    """A queue of connections with unwritten rejections. Each is in it once, so connections limit its length."""

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
