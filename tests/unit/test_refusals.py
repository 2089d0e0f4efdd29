"""Refusals wait for their share of the loop's time, and all of them are sent."""

from __future__ import annotations

import asyncio
import time

from saldo.http.refusals import LOOKED_AFTER, SLICE_SECONDS_MAX, Refusals


class Sender:
    """Notes who sends, and takes its time."""

    def __init__(self, sent: list[Sender], seconds: float = 0.0) -> None:
        self._sent = sent
        self._seconds = seconds

    def flush(self) -> None:
        time.sleep(self._seconds)  # the loop is busy with it
        self._sent.append(self)


async def test_all_are_sent_in_their_order() -> None:
    refusals = Refusals(asyncio.get_running_loop())
    sent: list[Sender] = []
    senders = [Sender(sent) for _ in range(1000)]
    for sender in senders:
        refusals.add(sender)
    assert not sent
    while len(sent) < len(senders):
        await asyncio.sleep(0)
    assert sent == senders


async def test_others_have_their_turn_before_all_are_sent() -> None:
    refusals = Refusals(asyncio.get_running_loop())
    sent: list[Sender] = []
    # Each look at the clock finds that the slice is over.
    seconds = SLICE_SECONDS_MAX / LOOKED_AFTER
    for _ in range(3 * LOOKED_AFTER):
        refusals.add(Sender(sent, seconds))
    found = []
    while len(sent) < 3 * LOOKED_AFTER:
        await asyncio.sleep(0)
        found.append(len(sent))
    assert {LOOKED_AFTER, 2 * LOOKED_AFTER} <= set(found)


async def test_who_comes_after_a_rest_is_sent() -> None:
    refusals = Refusals(asyncio.get_running_loop())
    sent: list[Sender] = []
    for number in (1, 2):
        refusals.add(Sender(sent))
        while len(sent) < number:
            await asyncio.sleep(0)
