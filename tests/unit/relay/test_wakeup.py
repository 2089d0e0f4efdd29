"""The bell: a signal is received, many signals become few, and a missing listener is no error."""

from __future__ import annotations

import asyncio
from pathlib import Path

from saldo.relay.wakeup import WakeupSender, receive_wakeups


async def test_last_of_many_wakeups_is_received(tmp_path: Path) -> None:
    bell, rings, heard = WakeupSender(tmp_path / "bell"), 0, asyncio.Event()

    def hear() -> None:
        nonlocal rings
        rings += 1
        heard.set()

    bell.wake()  # nobody listens yet
    listening = await receive_wakeups(tmp_path / "bell", hear)
    for _ in range(1000):
        bell.wake()
    async with asyncio.timeout(20):
        await heard.wait()
    assert rings == 1
    listening.close()
    bell.close()
