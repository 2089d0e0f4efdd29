"""How fast a relay may go: it steps back when it has to wait for a processor, for then posting has to as well.

A lower priority alone doesn't do it: most of what an event costs is spent by the broker and the database, on our
behalf and with their own priority. The kernel tells each thread how long it stood ready and had to wait. On an idle
machine, or one with processors to spare, that is nothing, and the relay goes as fast as it can.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

REST_FACTOR = 6.0
"""Seconds of rest for each second of waiting for a processor."""

WAIT_SHARE = 0.05
"""Of the time that is no reason to rest: the broker and we wait for each other a little on any machine."""

REST_SECONDS_MAX = 1.0
"""At a time: what is there must get out, however busy the machine is."""

POSTING_SECONDS = 1.0
"""After the last batch: then nobody is slowed down, and there is no need to step back."""

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""Nanoseconds on a processor, nanoseconds ready and waiting for one, and a count. Linux only."""


class Pace:
    """Tells how long to rest after each piece of work."""

    def __init__(
        self, schedstat: Path = _SCHEDSTAT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schedstat = schedstat
        self._clock = clock
        self._before = self._waited()
        self._since = clock()

    def rest_seconds(self) -> float:
        """How long to rest now, for what had to be waited since the last call; 0 where the kernel doesn't tell."""
        now, clock = self._waited(), self._clock()
        waited, self._before = now - self._before, now
        elapsed, self._since = clock - self._since, clock
        return min(max(0.0, REST_FACTOR * (waited - WAIT_SHARE * elapsed)), REST_SECONDS_MAX)

    def _waited(self) -> float:
        try:
            return int(self._schedstat.read_text("ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0


class Beside:
    """Whether somebody posts beside this process, whom its work would slow down."""

    def __init__(self, *, told: bool) -> None:
        """
        Args:
            told: whether `rung` is called for each batch that is posted here; if not, it may be so any time.
        """
        self._told = told
        self._rung_at = float("-inf")

    def rung(self) -> None:
        """A batch has been posted."""
        self._rung_at = time.monotonic()

    @property
    def posting(self) -> bool:
        """Whether somebody does, or may do so."""
        return not self._told or time.monotonic() - self._rung_at < POSTING_SECONDS
