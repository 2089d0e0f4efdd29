"""What is told of a batch: to the log when it was slow, and as spans of the requests in it that are traced."""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog

from saldo.observability.logs import Occasionally

SLOW_LINE_SECONDS = 1.0
"""Between two lines about slow batches of a lane."""

_log = structlog.get_logger("saldo.engine")


class TracedRequest(NamedTuple):
    """A request of a batch that is traced.

    Attributes:
        context: of its span (`saldo.observability.tracing.Tracing.current`).
        queued_at: of `time.monotonic`.
    """

    context: Any
    queued_at: float


class BatchReport(NamedTuple):
    """A batch that is recorded. Moments are of `time.monotonic`.

    Attributes:
        queued_at: when the oldest of its requests came.
        sent_at: when the lane had a connection and sent it.
        lock_wait_seconds: of the database, for the batches of other processes.
    """

    lane: int
    requests: int
    queued_at: float
    taken_at: float
    sent_at: float
    done_at: float
    lock_wait_seconds: float


class SlowBatches:
    """Logs those of a lane that took long, with their parts."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: from how many on.
        """
        self._seconds = seconds
        self._lines = Occasionally(SLOW_LINE_SECONDS)

    def look_at(self, batch: BatchReport) -> None:
        """Logs it if it was slow, and none was just now."""
        if batch.done_at - batch.taken_at < self._seconds:
            return
        left_out = self._lines.left_out()
        if left_out is not None:
            _log.warning(
                "slow batch",
                lane=batch.lane,
                requests=batch.requests,
                queue_wait_seconds=round(batch.taken_at - batch.queued_at, 4),
                connect_seconds=round(batch.sent_at - batch.taken_at, 4),
                database_seconds=round(batch.done_at - batch.sent_at, 4),
                lock_wait_seconds=batch.lock_wait_seconds,
                left_out=left_out,
            )
