"""A throttle of background work. The work pauses if it had to wait for a processor, because posting then has to wait,
too.

A lower priority of the process is not enough, because the broker and the database do most of the work for an event, at
their own priority. The kernel reports for how long each thread was ready to run and had to wait. On a machine with free
processors that time is about zero, and the work runs at full speed.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

REST_FACTOR = 6.0
"""Seconds of pause for each second of waiting for a processor."""

WAIT_SHARE = 0.05
"""Share of the elapsed time that may be spent waiting without causing a pause. On any machine, the broker and this
process wait for each other a little."""

REST_SECONDS_MAX = 1.0
"""Maximum pause, so that the work makes progress however busy the machine is."""

POSTING_SECONDS = 1.0
"""Time after the last batch for which posting counts as active. After that time, background work delays no client."""

_SCHEDSTAT = Path("/proc/thread-self/schedstat")
"""The thread's scheduler statistics, on Linux only: nanoseconds of running on a processor, nanoseconds of waiting for a
processor, and a count."""


class CpuThrottle:
    """A CPU throttle that computes the pause after each piece of work."""

    def __init__(
        self, schedstat: Path = _SCHEDSTAT, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._schedstat = schedstat
        self._clock = clock
        self._waited_before = self._read_wait_seconds()
        self._since = clock()

    def compute_pause_seconds(self) -> float:
        """Return the pause in seconds, computed from the time spent waiting for a processor since the last call; 0 if
        that time is unknown."""
        wait_seconds, now = self._read_wait_seconds(), self._clock()
        waited, self._waited_before = wait_seconds - self._waited_before, wait_seconds
        elapsed, self._since = now - self._since, now
        return min(max(0.0, REST_FACTOR * (waited - WAIT_SHARE * elapsed)), REST_SECONDS_MAX)

    def _read_wait_seconds(self) -> float:
        try:
            return int(self._schedstat.read_text("ascii").split()[1]) / 1e9
        except (OSError, ValueError, IndexError):
            return 0.0


class PostingActivity:
    """The posting activity of this machine. Background work slows down while transactions are being posted."""

    def __init__(self, *, is_recorded: bool) -> None:
        """
        Args:
            is_recorded: whether `record_batch` is called for each batch posted on this machine. If not, posting always
                counts as active.
        """
        self._is_recorded = is_recorded
        self._recorded_at = float("-inf")

    def record_batch(self) -> None:
        """Record that a batch has been posted."""
        self._recorded_at = time.monotonic()

    @property
    def is_recent(self) -> bool:
        """True if transactions are being posted, or if that is unknown."""
        return not self._is_recorded or time.monotonic() - self._recorded_at < POSTING_SECONDS
