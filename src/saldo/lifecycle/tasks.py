"""The end of background tasks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine, Iterable
from contextlib import asynccontextmanager
from typing import Any

CANCEL_AGAIN_SECONDS = 1.0
"""Time after which a task that has not ended is cancelled again."""


async def cancel_until_ended(tasks: Iterable[asyncio.Task[None]]) -> None:
    """Cancel tasks until all have ended.

    Cancelling once is not always enough: the driver can turn a cancellation into an error of its own while a connection
    breaks, and a task that retries after errors would go on for ever.
    """
    running_tasks = {*tasks}
    while running_tasks:
        for task in running_tasks:
            task.cancel()
        _, running_tasks = await asyncio.wait(running_tasks, timeout=CANCEL_AGAIN_SECONDS)


@asynccontextmanager
async def run_task(work: Coroutine[Any, Any, None], *, name: str) -> AsyncIterator[None]:
    """Run a coroutine as a background task inside the block, and cancel it at the end."""
    task = asyncio.create_task(work, name=name)
    try:
        yield
    finally:
        await cancel_until_ended([task])
