"""The wiring of the console's routes. The handlers themselves are in `saldo.console.pages`, one module per page."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from litestar import Request, Response, Router
from litestar.di import Provide
from litestar.params import FromPath

from saldo.console.authentication import SessionAuthenticator
from saldo.console.metrics_history import MetricsHistory
from saldo.console.middleware import RENDERED_EXCEPTIONS, ConsoleMiddleware, PageNotFoundError
from saldo.console.page import ASSETS_PATH, ConsolePage, InjectedPage, page_route
from saldo.console.pages import (
    balance_chart,
    keys,
    overview,
    sign_in,
    transaction,
    transaction_form,
    user,
    users,
    webhooks,
)
from saldo.console.pages.event_stream import LIVE_PATH, ConsoleEventStream
from saldo.console.pages.overview import OverviewCache
from saldo.http.api.context import AppContext
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.litestar_app import ConsoleRoutes, create_assets_router
from saldo.http.request_state import get_request_state
from saldo.store.charts import Charts
from saldo.store.console_sessions import ConsoleSessions

_ASSETS: Final = Path(__file__).parent / "assets"


@page_route(CONSOLE_PATH)
async def redirect_to_start(page: InjectedPage) -> Response[bytes]:
    """Redirect to the overview, or to the list of users if the key is limited to some users."""
    return page.redirect(overview.OVERVIEW_PATH if page.covers_all_users else users.USERS_PATH)


@page_route(f"{CONSOLE_PATH}/{{rest:path}}")
async def show_not_found(page: InjectedPage, rest: FromPath[str]) -> Response[bytes]:
    """Answer unknown paths with the console's own 404 page."""
    raise PageNotFoundError


HANDLERS: Final = [
    redirect_to_start,
    *sign_in.HANDLERS,
    *overview.HANDLERS,
    *users.HANDLERS,
    *user.HANDLERS,
    *balance_chart.HANDLERS,
    *transaction_form.HANDLERS,
    *transaction.HANDLERS,
    *keys.HANDLERS,
    *webhooks.HANDLERS,
    show_not_found,
]


def create_console_routes(
    service: AppContext, sessions: ConsoleSessions, charts: Charts, samples: MetricsHistory
) -> ConsoleRoutes:
    """Return the routers, streams and error handler that serve the console."""
    authenticator = SessionAuthenticator(service.authenticator, sessions)
    middleware = ConsoleMiddleware(authenticator, service)
    parts = {
        "authenticator": authenticator,
        "charts": charts,
        "overview": OverviewCache(service, charts, samples),
    }

    # These hooks are functions, because the framework copies its hooks. A copy of a bound method would include a copy
    # of its object.
    async def authenticate_request(request: Request[Any, Any, Any]) -> Response[bytes] | None:
        return await middleware.authenticate_request(request)

    def render_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
        return middleware.render_error(request, error)

    router = Router(
        path="/",
        route_handlers=HANDLERS,
        before_request=authenticate_request,
        exception_handlers=dict.fromkeys(RENDERED_EXCEPTIONS, render_error),
        dependencies={
            "page": Provide(_provide_page, sync_to_thread=False),
            **{name: _provide_constant(part) for name, part in parts.items()},
        },
        include_in_schema=False,
        signature_types=[ConsolePage, SessionAuthenticator, Charts, OverviewCache],
    )
    streams = {LIVE_PATH: ConsoleEventStream(authenticator, service.event_stream_handler)}
    return ConsoleRoutes(
        [router, create_assets_router(ASSETS_PATH, _ASSETS)], streams, (CONSOLE_PATH, render_error)
    )


def _provide_page(request: Request[Any, Any, Any]) -> ConsolePage:
    """Return the page that `ConsoleMiddleware.authenticate_request` created for this request."""
    page = get_request_state(request.scope).page
    assert isinstance(page, ConsolePage)
    return page


def _provide_constant(part: object) -> Provide:
    def provide() -> Any:
        return part

    return Provide(provide, sync_to_thread=False)
