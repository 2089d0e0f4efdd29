"""The tracing of a process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from saldo import __version__
from saldo.settings.model import Settings

if TYPE_CHECKING:
    from saldo.observability.tracing import Tracing


@asynccontextmanager
async def open_tracing(settings: Settings) -> AsyncIterator[Tracing | None]:
    """Yield the tracing of this process; None if it is not configured. On exit, unsent spans are sent."""
    if settings.tracing_url is None:
        yield None
        return
    from saldo.observability.tracing import Tracing  # noqa: PLC0415 - its packages are an extra

    tracing = Tracing.create_exporting(settings.tracing_url, __version__, settings.tracing_ratio)
    try:
        yield tracing
    finally:
        await asyncio.to_thread(tracing.stop)
