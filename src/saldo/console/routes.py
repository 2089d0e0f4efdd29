"""All routes of the console, wired. One file for each page; nothing of a page is here."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from litestar import Request, Response, Router, get
from litestar.di import Provide

from saldo.console import account, chart, signing, users
from saldo.console.entry import Entry
from saldo.console.gate import FAULTS, Gate, NotFoundError
from saldo.console.live import LIVE_PATH, Live
from saldo.console.page import ASSETS_PATH, Given, Page
from saldo.http.access import CONSOLE_PATH
from saldo.http.app import Pages, assets_of
from saldo.http.service import Service
from saldo.store.charts import Charts
from saldo.store.sessions import Sessions

_ASSETS: Final = Path(__file__).parent / "assets"


@get(CONSOLE_PATH)
async def show_first(page: Given) -> Response[bytes]:
    """To what the key is for."""
    return page.go(f"{CONSOLE_PATH}/overview" if page.sees_all else users.USERS_PATH)


@get(f"{CONSOLE_PATH}/{{rest:path}}")
async def show_nothing(page: Given, rest: str) -> Response[bytes]:
    """For people who have mistyped."""
    raise NotFoundError


def console_pages(service: Service, sessions: Sessions, charts: Charts) -> Pages:
    """What the console is served by."""
    entry = Entry(service.gate, sessions)
    gate = Gate(entry, service)

    # Functions, not methods: the framework copies what it is given, with all that hangs on it.
    async def before(request: Request) -> Response[bytes] | None:  # type: ignore[type-arg]
        return await gate.before(request)

    def failed(request: Request, error: Exception) -> Response[bytes]:  # type: ignore[type-arg]
        return gate.failed(request, error)

    def given_page(request: Request) -> Page:  # type: ignore[type-arg]
        found: Page = request.scope["state"]["page"]
        return found

    def given_entry() -> Entry:
        return entry

    def given_charts() -> Charts:
        return charts

    handlers = [
        show_first,
        *signing.HANDLERS,
        *users.HANDLERS,
        *account.HANDLERS,
        *chart.HANDLERS,
        show_nothing,
    ]
    router = Router(
        path="/",
        route_handlers=handlers,
        before_request=before,
        exception_handlers=dict.fromkeys(FAULTS, failed),
        dependencies={
            "page": Provide(given_page, sync_to_thread=False),
            "entry": Provide(given_entry, sync_to_thread=False),
            "charts": Provide(given_charts, sync_to_thread=False),
        },
        include_in_schema=False,
        signature_types=[Page, Entry, Charts],
    )
    streams = {LIVE_PATH: Live(entry, service.events)}
    return Pages([router, assets_of(ASSETS_PATH, _ASSETS)], streams)
