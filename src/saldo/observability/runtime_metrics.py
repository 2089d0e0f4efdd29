"""Metrics of the event loop, the queue and the pools, sampled continuously. Late timers show how busy the loop is."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Protocol

from saldo.observability.metrics import (
    LANES,
    LANES_BUSY,
    LOOP_LAG,
    POOL_CONNECTIONS,
    POOL_CONNECTIONS_LIMIT,
    POOL_WAITING,
    QUEUE_ADMISSION_LIMIT,
    QUEUE_REQUESTS,
)

SAMPLE_SECONDS = 0.1
UPDATE_SECONDS = 5.0
"""Interval at which the gauges of the lag and of the pools are updated. The reported lag is the greatest since the last
update."""


class SampledAdmission(Protocol):
    """The properties of the admission limit that are sampled."""

    limit: int

    @property
    def waiting_requests(self) -> int: ...


class SampledEngine(Protocol):
    """The properties of the engine that are sampled. The lanes don't report them, because a lane could not do so while
    its batch hangs."""

    @property
    def admission(self) -> SampledAdmission: ...
    @property
    def lanes(self) -> int: ...
    @property
    def lanes_busy(self) -> int: ...


class PoolStatus(Protocol):
    """The methods of a connection pool (asyncpg's) that are sampled."""

    def get_size(self) -> int: ...
    def get_idle_size(self) -> int: ...
    def get_max_size(self) -> int: ...


async def sample_runtime(
    engine: SampledEngine,
    pools: Mapping[str, PoolStatus],
    count_waiters: Callable[[PoolStatus], int],
) -> None:
    """Update the gauges of the event loop, the queue and the pools until cancelled.

    Args:
        count_waiters: returns the number of requests that wait for a connection of a pool.
    """
    loop = asyncio.get_running_loop()
    lag_max, next_update_at = 0.0, 0.0
    while True:
        due = loop.time() + SAMPLE_SECONDS
        await asyncio.sleep(SAMPLE_SECONDS)
        now = loop.time()
        lag_max = max(lag_max, now - due)
        QUEUE_REQUESTS.set(engine.admission.waiting_requests)
        QUEUE_ADMISSION_LIMIT.set(engine.admission.limit)
        LANES.set(engine.lanes)
        LANES_BUSY.set(engine.lanes_busy)
        for name, pool in pools.items():
            POOL_WAITING.labels(name).set(count_waiters(pool))
        if now < next_update_at:
            continue
        LOOP_LAG.set(lag_max)
        lag_max, next_update_at = 0.0, now + UPDATE_SECONDS
        for name, pool in pools.items():
            idle = pool.get_idle_size()
            POOL_CONNECTIONS.labels(name, "idle").set(idle)
            POOL_CONNECTIONS.labels(name, "used").set(pool.get_size() - idle)
            POOL_CONNECTIONS_LIMIT.labels(name).set(pool.get_max_size())
