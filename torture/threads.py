"""What blocks goes into a thread; and nobody leaves while it is still at work there."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def in_thread(function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Its result. Who is cancelled meanwhile waits for its end all the same.

    A thread can't be cancelled: left alone it would go on starting what others are ending.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *given, **named))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
