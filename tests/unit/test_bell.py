"""The bell: a ring is heard, many are few, and nobody at the door is no fault."""

from __future__ import annotations

import asyncio
from pathlib import Path

from saldo.relay.bell import Bell, listen


async def test_the_last_of_many_rings_is_heard(tmp_path: Path) -> None:
    bell, rings, heard = Bell(tmp_path / "bell"), 0, asyncio.Event()

    def hear() -> None:
        nonlocal rings
        rings += 1
        heard.set()

    bell.ring()  # nobody listens yet
    listening = await listen(tmp_path / "bell", hear)
    for _ in range(1000):
        bell.ring()
    async with asyncio.timeout(20):
        await heard.wait()
    assert rings == 1
    listening.close()
    bell.close()
