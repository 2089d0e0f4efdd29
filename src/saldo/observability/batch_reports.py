"""Reports of batches: log lines about slow ones, and spans of the traced requests in them."""

from __future__ import annotations

from typing import Any, NamedTuple

import structlog

from saldo.observability.logs import LogRateLimiter

SLOW_LOG_INTERVAL_SECONDS = 1.0
"""Minimum interval between two log lines about a lane's slow batches."""

_log = structlog.get_logger("saldo.engine")


class TracedRequest(NamedTuple):
    """A traced request in a batch.

    Attributes:
        context: the context of the request's span (`saldo.observability.tracing.Tracing.current`).
        queued_at: the time at which the request was queued (`time.monotonic`).
    """

    context: Any
    queued_at: float


class BatchReport(NamedTuple):
    """A report of a recorded batch. Times are those of `time.monotonic`.

    Attributes:
        queued_at: the time at which the oldest request was queued.
        taken_at: the time at which the lane took the batch.
        sent_at: the time at which the lane had a connection and sent the batch.
        done_at: the time at which the outcomes were known.
        lock_wait_seconds: the time for which the batch waited in the database for locks that batches of other processes
            held.
    """

    lane: int
    requests: int
    queued_at: float
    taken_at: float
    sent_at: float
    done_at: float
    lock_wait_seconds: float


class SlowBatches:
    """A log of the slow batches of a lane, with the duration of each part."""

    def __init__(self, seconds: float) -> None:
        """
        Args:
            seconds: the minimum duration of a slow batch.
        """
        self._seconds = seconds
        self._lines = LogRateLimiter(SLOW_LOG_INTERVAL_SECONDS)

    def record_batch(self, batch: BatchReport) -> None:
        """Log the batch if it was slow, unless the last line was logged less than `SLOW_LOG_INTERVAL_SECONDS` ago."""
        if batch.done_at - batch.taken_at < self._seconds:
            return
        left_out = self._lines.take_turn()
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
