"""All routes of the console, wired. One file for each page; nothing of a page is here."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router
from litestar.di import Provide
from litestar.params import FromPath

from saldo.console import (
    account,
    chart,
    keys,
    money,
    overview,
    signing,
    transactions,
    users,
    webhooks,
)
from saldo.console.entry import Entry
from saldo.console.gate import FAULTS, Gate, NotFoundError
from saldo.console.live import LIVE_PATH, Live
from saldo.console.overview import Overview
from saldo.console.page import ASSETS_PATH, Given, Page, shows
from saldo.console.samples import Samples
from saldo.http.access import CONSOLE_PATH
from saldo.http.app import Pages, assets_of
from saldo.http.service import Service
from saldo.store.charts import Charts
from saldo.store.sessions import Sessions

_ASSETS: Final = Path(__file__).parent / "assets"


@shows(CONSOLE_PATH)
async def show_first(page: Given) -> Response[bytes]:
    """To what the key is for."""
    return page.go(overview.OVERVIEW_PATH if page.sees_all else users.USERS_PATH)


@shows(f"{CONSOLE_PATH}/{{rest:path}}")
async def show_nothing(page: Given, rest: FromPath[str]) -> Response[bytes]:
    """For people who have mistyped."""
    raise NotFoundError


HANDLERS: Final = [
    show_first,
    *signing.HANDLERS,
    *overview.HANDLERS,
    *users.HANDLERS,
    *account.HANDLERS,
    *chart.HANDLERS,
    *money.HANDLERS,
    *transactions.HANDLERS,
    *keys.HANDLERS,
    *webhooks.HANDLERS,
    show_nothing,
]


def console_pages(service: Service, sessions: Sessions, charts: Charts, samples: Samples) -> Pages:
    """What the console is served by."""
    entry = Entry(service.gate, sessions)
    gate = Gate(entry, service)
    parts = {"entry": entry, "charts": charts, "overview": Overview(service, charts, samples)}

    # Functions, not methods: the framework copies what it is given, with all that hangs on it.
    async def before(request: Request[Any, Any, Any]) -> Response[bytes] | None:
        return await gate.before(request)

    def failed(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return gate.failed(request, error)

    router = Router(
        path="/",
        route_handlers=HANDLERS,
        before_request=before,
        exception_handlers=dict.fromkeys(FAULTS, failed),
        dependencies={
            "page": Provide(_given_page, sync_to_thread=False),
            **{name: _given(part) for name, part in parts.items()},
        },
        include_in_schema=False,
        signature_types=[Page, Entry, Charts, Overview],
    )
    streams = {LIVE_PATH: Live(entry, service.events)}
    return Pages([router, assets_of(ASSETS_PATH, _ASSETS)], streams, (CONSOLE_PATH, failed))


def _given_page(request: Request[Any, Any, Any]) -> Page:
    """Made before the route (`Gate.before`)."""
    page: Page = request.scope["state"]["page"]
    return page


def _given(part: object) -> Provide:
    def given() -> Any:
        return part

    return Provide(given, sync_to_thread=False)
