"""A helper that runs blocking functions in a thread and never abandons the thread."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")


async def run_in_thread(function: Callable[P, T], *given: P.args, **named: P.kwargs) -> T:
    """Return the result of a blocking function, run in a thread.

    A caller that is cancelled meanwhile still waits for the end of the function.

    A thread can't be cancelled. An abandoned thread could still start processes while the caller is ending them.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *given, **named))
    try:
        return await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
