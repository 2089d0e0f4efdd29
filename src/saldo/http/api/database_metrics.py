"""Metrics that are read from the database.

Those that can't be read are omitted, and all others are still returned.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable
from typing import TypeVar

from saldo.http.api.context import AppContext
from saldo.observability.database_metrics import DatabaseMetrics, DiskValues
from saldo.store.errors import StoreError
from saldo.store.seals import SealTotals

FIGURES_SECONDS_MAX = 2.0
"""Timeout of each query in seconds, after which its metrics are omitted. A scrape times out after 10 s as a
whole."""

T = TypeVar("T")


async def read_database_metrics(service: AppContext) -> DatabaseMetrics:
    """Return the metrics of the database, from concurrent queries."""
    roundtrip, sinks, webhooks, ledger, audit, seals = await asyncio.gather(
        _or_none(_roundtrip(service)),
        _or_none(service.sinks.list_statuses()),
        _or_none(service.webhooks.page(after_id=0, limit=service.settings.webhooks_max)),
        _or_none(service.totals.read_totals()),
        _or_none(service.audits.read_status()),
        _or_none(_seals(service)),
    )
    return DatabaseMetrics(
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


async def _or_none(question: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(FIGURES_SECONDS_MAX):
            return await question
    except (StoreError, TimeoutError):
        return None


async def _roundtrip(service: AppContext) -> float | None:
    began = time.perf_counter()
    ready = await service.reader.is_ready()
    return time.perf_counter() - began if ready else None


async def _seals(service: AppContext) -> SealTotals | None:
    """Return the totals of the seals, or None if sealing is disabled: then unsealed entries are expected."""
    return await service.seals.read_totals() if service.settings.seals_enabled else None


def _disk(service: AppContext) -> DiskValues | None:
    """Return the disk usage of the embedded PostgreSQL's data; None if there is none or it can't be read."""
    if service.settings.database_url is not None:
        return None
    try:
        return shutil.disk_usage(service.settings.data_dir)
    except OSError:
        return None
