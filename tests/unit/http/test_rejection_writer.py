"""Rejections wait for their share of the loop's time, and all of them are sent."""

from __future__ import annotations

import asyncio
import time

from saldo.http.connection.rejection_writer import (
    REJECTIONS_PER_CLOCK_READ,
    SLICE_SECONDS_MAX,
    RejectionWriter,
)


class Sender:
    """A connection that records the order of sending, and blocks the loop for a while."""

    def __init__(self, sent: list[Sender], seconds: float = 0.0) -> None:
        self._sent = sent
        self._seconds = seconds

    def flush(self) -> None:
        time.sleep(self._seconds)  # this blocks the loop
        self._sent.append(self)


async def test_rejections_are_sent_in_order() -> None:
    refusals = RejectionWriter(asyncio.get_running_loop())
    sent: list[Sender] = []
    senders = [Sender(sent) for _ in range(1000)]
    for sender in senders:
        refusals.add(sender)
    assert not sent
    while len(sent) < len(senders):
        await asyncio.sleep(0)
    assert sent == senders


async def test_other_tasks_run_before_all_rejections_are_sent() -> None:
    refusals = RejectionWriter(asyncio.get_running_loop())
    sent: list[Sender] = []
    # Each check of the clock finds that the slice is over.
    seconds = SLICE_SECONDS_MAX / REJECTIONS_PER_CLOCK_READ
    for _ in range(3 * REJECTIONS_PER_CLOCK_READ):
        refusals.add(Sender(sent, seconds))
    found = []
    while len(sent) < 3 * REJECTIONS_PER_CLOCK_READ:
        await asyncio.sleep(0)
        found.append(len(sent))
    assert {REJECTIONS_PER_CLOCK_READ, 2 * REJECTIONS_PER_CLOCK_READ} <= set(found)


async def test_rejection_after_an_idle_time_is_sent() -> None:
    refusals = RejectionWriter(asyncio.get_running_loop())
    sent: list[Sender] = []
    for number in (1, 2):
        refusals.add(Sender(sent))
        while len(sent) < number:
            await asyncio.sleep(0)
