"""Metrics that are read from the database.

Metrics that can't be read are omitted, and all others are still returned.
"""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import Awaitable
from typing import Any, TypeVar

from saldo.http.api.context import AppContext
from saldo.observability.database_metrics import DatabaseMetrics, DiskValues
from saldo.store.errors import StoreError
from saldo.store.heads import HeadStatus
from saldo.store.seals import SealTotals
from saldo.store.server_figures import read_replica_lag, read_server_figures

QUERY_SECONDS_MAX = 2.0
"""Timeout of each query in seconds, after which its metrics are omitted. The timeout of a whole scrape is 10 s."""

T = TypeVar("T")


async def read_database_metrics(service: AppContext) -> DatabaseMetrics:
    """Read the metrics of the database with concurrent queries, and return them."""
    # The types of `gather` are known for up to six arguments.
    (roundtrip, server, lag), (sinks, webhooks, ledger, audit, seals, heads) = await asyncio.gather(
        asyncio.gather(
            _query_or_none(_measure_roundtrip(service)),
            _query_or_none(read_server_figures(service.reader.pool)),
            _query_or_none(_read_replica_lag(service.reader.replica_pool)),
        ),
        asyncio.gather(
            _query_or_none(service.sinks.list_statuses()),
            _query_or_none(
                service.webhooks.list_page(after_id=0, limit=service.settings.webhooks_max)
            ),
            _query_or_none(service.totals.read_totals()),
            _query_or_none(service.audits.read_status()),
            _query_or_none(_read_seal_totals(service)),
            _query_or_none(_read_head_status(service)),
        ),
    )
    return DatabaseMetrics(
        roundtrip,
        server,
        lag,
        sinks or [],
        webhooks or [],
        ledger,
        audit,
        service.settings.audit_entries_per_second > 0,
        seals,
        heads,
        service.settings.seals_publish_seconds,
        service.parser_options.decimals,
        _read_disk_usage(service),
    )


async def _query_or_none(query: Awaitable[T]) -> T | None:
    try:
        async with asyncio.timeout(QUERY_SECONDS_MAX):
            return await query
    except (StoreError, TimeoutError):
        return None


async def _measure_roundtrip(service: AppContext) -> float | None:
    started_at = time.perf_counter()
    is_ready = await service.reader.is_ready()
    return time.perf_counter() - started_at if is_ready else None


async def _read_replica_lag(pool: Any | None) -> float | None:
    return None if pool is None else await read_replica_lag(pool)


async def _read_seal_totals(service: AppContext) -> SealTotals | None:
    """Return the totals of the seals. Return None if sealing is disabled, because unsealed entries are then normal."""
    return await service.seals.read_totals() if service.settings.seals_enabled else None


async def _read_head_status(service: AppContext) -> HeadStatus | None:
    """Return the progress of publishing. Return None if no signed heads are published."""
    settings = service.settings
    is_enabled = settings.seals_enabled and settings.seals_key_file is not None
    return await service.heads.read_status() if is_enabled else None


def _read_disk_usage(service: AppContext) -> DiskValues | None:
    """Return the usage of the disk with the embedded PostgreSQL's data. Return None if another PostgreSQL is used, or
    if the usage can't be read."""
    if service.settings.database_url is not None:
        return None
    try:
        return shutil.disk_usage(service.settings.data_dir)
    except OSError:
        return None
