"""The event loop, the queue and the pools, looked at all the time: what is due and late tells how busy the loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Protocol

from saldo.observability.metrics import LOOP_LAG, POOL_CONNECTIONS, QUEUE_REQUESTS

LOOK_SECONDS = 0.1
TELL_SECONDS = 5.0
"""The lag that is told is the worst since the last time."""


class Queue(Protocol):
    """What is asked of the engine. Asked here: while a batch hangs, the queue fills and no lane tells of it."""

    @property
    def queue_requests(self) -> int: ...


class Pool(Protocol):
    """What is asked of a pool of connections (asyncpg's)."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...


async def watch(queue: Queue, pools: Mapping[str, Pool]) -> None:
    """Keeps their gauges right until it is cancelled."""
    loop = asyncio.get_running_loop()
    worst, tell_at = 0.0, 0.0
    while True:
        due = loop.time() + LOOK_SECONDS
        await asyncio.sleep(LOOK_SECONDS)
        now = loop.time()
        worst = max(worst, now - due)
        QUEUE_REQUESTS.set(queue.queue_requests)
        if now < tell_at:
            continue
        LOOP_LAG.set(worst)
        worst, tell_at = 0.0, now + TELL_SECONDS
        for name, pool in pools.items():
            idle = pool.get_idle_size()
            POOL_CONNECTIONS.labels(name, "idle").set(idle)
            POOL_CONNECTIONS.labels(name, "used").set(pool.get_size() - idle)
