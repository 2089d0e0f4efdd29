"""The overview: how the service does, and what the ledger holds. For who may see all users."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from typing import Final

import msgspec
from litestar import Response
from litestar.di import NamedDependency

from saldo.console.page import Given, shows
from saldo.console.samples import SAMPLE_SECONDS, Samples
from saldo.http.access import CONSOLE_PATH, covering_all
from saldo.http.figures import figures_of
from saldo.http.service import Service
from saldo.observability.figures import Figures
from saldo.store.charts import MOVEMENTS_OF_SHARD, Charts
from saldo.store.errors import StoreError
from saldo.store.reader import Transaction, User

OVERVIEW_PATH: Final = f"{CONSOLE_PATH}/overview"
MOVEMENTS: Final = 10
FIGURES_SECONDS: Final = 2.0
"""For so long figures are shown to all who look: the database is asked once."""

_encode: Final = msgspec.json.Encoder().encode


class Movement(msgspec.Struct, frozen=True):
    """One of the largest, and whose it is."""

    transaction: Transaction
    user: User | None


class Overview:
    """What the database says, for all who look at the same time."""

    def __init__(self, service: Service, charts: Charts, samples: Samples) -> None:
        self.samples = samples
        self._service = service
        self._charts = charts
        self._looking = asyncio.Lock()
        self._looked_at = -FIGURES_SECONDS
        self._found: tuple[Figures, Sequence[Movement]] | None = None

    async def look(self) -> tuple[Figures, Sequence[Movement]]:
        """Figures, and the largest movements; what can't be asked now is left out."""
        async with self._looking:
            now = time.monotonic()
            if self._found is None or now - self._looked_at >= FIGURES_SECONDS:
                figures = await figures_of(self._service)
                self._found = figures, await self._largest()
                self._looked_at = now
            return self._found

    async def _largest(self) -> Sequence[Movement]:
        try:
            found = await self._charts.largest_recent(MOVEMENTS)
            ids = sorted({item.user_id for item in found})
            users = await self._service.reader.users_of(ids, after_id=0, limit=len(ids))
        except StoreError:
            return []
        named = {user.id: user for user in users}
        return [Movement(item, named.get(item.user_id)) for item in found]


GivenOverview = NamedDependency[Overview]


@shows(OVERVIEW_PATH)
async def show_overview(page: Given, overview: GivenOverview) -> Response[bytes]:
    """The page."""
    covering_all(page.request.scope)
    figures, largest = await overview.look()
    settings = page.service.settings
    return page.show(
        "overview.html",
        figures=figures,
        largest=largest,
        looked_at=MOVEMENTS_OF_SHARD,
        seals_on=settings.seals,
        sample_seconds=int(SAMPLE_SECONDS),
        processes=settings.workers,
    )


@shows(f"{OVERVIEW_PATH}/series")
async def show_series(page: Given, overview: GivenOverview) -> Response[bytes]:
    """What charts show."""
    covering_all(page.request.scope)
    body = _encode(overview.samples.series()._asdict())
    return Response(body, media_type="application/json")


HANDLERS = [show_overview, show_series]
