"""Metrics that come from the database: those of a fault of it are left out, the others must still be answered."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable
from typing import TypeVar

from saldo.http.service import Service
from saldo.observability.figures import DiskFigures, Figures
from saldo.store.errors import StoreError
from saldo.store.seals import SealTotals

FIGURES_SECONDS_MAX = 2.0
"""Then those that are not there yet are left out: a scrape waits 10 s for all of them."""

T = TypeVar("T")


async def figures_of(service: Service) -> Figures:
    """Asks for all of them at the same time."""
    roundtrip, sinks, webhooks, ledger, audit, seals = await asyncio.gather(
        _unless_down(_roundtrip(service)),
        _unless_down(service.sinks.status()),
        _unless_down(service.webhooks.page(after_id=0, limit=service.settings.webhooks_max)),
        _unless_down(service.totals.read()),
        _unless_down(service.audits.status()),
        _unless_down(_seals(service)),
    )
    return Figures(
        roundtrip,
        sinks or [],
        webhooks or [],
        ledger,
        audit,
        service.settings.audit_entries_per_second > 0,
        seals,
        service.reading.decimals,
        _disk(service),
    )


async def _unless_down(question: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(FIGURES_SECONDS_MAX):
            return await question
    except (StoreError, TimeoutError):
        return None


async def _roundtrip(service: Service) -> float | None:
    began = time.perf_counter()
    ready = await service.reader.ready()
    return time.perf_counter() - began if ready else None


async def _seals(service: Service) -> SealTotals | None:
    """Not where nothing is to be sealed: then that is no news."""
    return await service.seals.totals() if service.settings.seals else None


def _disk(service: Service) -> DiskFigures | None:
    """Of the embedded server's data."""
    if service.settings.database_url is not None:
        return None
    try:
        return shutil.disk_usage(service.settings.data_dir)
    except OSError:
        return None
