"""The overview page with the state of the service and the figures of the ledger, for keys that cover all users."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from litestar import Response
from litestar.di import NamedDependency

from saldo.console.metrics_history import SAMPLE_SECONDS, MetricsHistory
from saldo.console.page import InjectedPage, page_route
from saldo.encoding.json import encode_json
from saldo.http.api.context import AppContext
from saldo.http.api.database_metrics import read_database_metrics
from saldo.http.authorization import CONSOLE_PATH, require_all_users
from saldo.observability.database_metrics import DatabaseMetrics
from saldo.store.charts import RECENT_ENTRIES_PER_SHARD, Charts
from saldo.store.errors import StoreError
from saldo.store.reader import Transaction, User

OVERVIEW_PATH: Final = f"{CONSOLE_PATH}/overview"
RECENT_TRANSACTIONS: Final = 10
FIGURES_CACHE_SECONDS: Final = 2.0
"""Time in seconds for which the figures are cached. All visitors share the cache."""


class RecentTransaction(msgspec.Struct, frozen=True):
    """One of the largest recent transactions, with its user."""

    transaction: Transaction
    user: User | None


class OverviewCache:
    """A cache of the figures from the database, shared by all visitors."""

    def __init__(self, service: AppContext, charts: Charts, samples: MetricsHistory) -> None:
        self.samples = samples
        self._service = service
        self._charts = charts
        self._lock = asyncio.Lock()
        self._queried_at = -FIGURES_CACHE_SECONDS
        self._cached_figures: tuple[DatabaseMetrics, Sequence[RecentTransaction]] | None = None

    async def get(self) -> tuple[DatabaseMetrics, Sequence[RecentTransaction]]:
        """Return the figures and the largest recent transactions. Figures that cannot be read now are left out."""
        async with self._lock:
            now = time.monotonic()
            if self._cached_figures is None or now - self._queried_at >= FIGURES_CACHE_SECONDS:
                figures = await read_database_metrics(self._service)
                self._cached_figures = figures, await self._read_largest_transactions()
                self._queried_at = now
            return self._cached_figures

    async def _read_largest_transactions(self) -> Sequence[RecentTransaction]:
        try:
            transactions = await self._charts.list_largest_recent_transactions(RECENT_TRANSACTIONS)
            ids = sorted({item.user_id for item in transactions})
            users = await self._service.reader.get_users(ids, after_id=0, limit=len(ids))
        except StoreError:
            return []
        users_by_id = {user.id: user for user in users}
        return [RecentTransaction(item, users_by_id.get(item.user_id)) for item in transactions]


InjectedOverview = NamedDependency[OverviewCache]


@page_route(OVERVIEW_PATH)
async def show_overview(page: InjectedPage, overview: InjectedOverview) -> Response[bytes]:
    """Show the overview."""
    require_all_users(page.request.scope)
    figures, largest = await overview.get()
    settings = page.service.settings
    return page.render(
        "overview.html",
        figures=figures,
        largest=largest,
        recent_entries=RECENT_ENTRIES_PER_SHARD,
        seals_on=settings.seals_enabled,
        sample_seconds=int(SAMPLE_SECONDS),
        processes=settings.workers,
    )


@page_route(f"{OVERVIEW_PATH}/series")
async def show_series(page: InjectedPage, overview: InjectedOverview) -> Response[bytes]:
    """Return the series of the charts as JSON."""
    require_all_users(page.request.scope)
    body = encode_json(overview.samples.compute_series()._asdict())
    return Response(body, media_type="application/json")


HANDLERS = [show_overview, show_series]
