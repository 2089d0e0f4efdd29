"""The framework's application behind the ASGI entry point: routes, documentation, and errors as problems."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from litestar import Litestar, Request, Response, Router
from litestar.di import Provide
from litestar.exceptions import HTTPException, InternalServerException
from litestar.openapi import OpenAPIConfig
from litestar.openapi.spec import Components, Contact, License, SecurityScheme, Tag
from litestar.routes import HTTPRoute
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from saldo import __version__
from saldo.http import problems
from saldo.http.api.context import AppContext
from saldo.http.api.events import get_events
from saldo.http.api.keys import KEY_HANDLERS
from saldo.http.api.operation import (
    DocumentPlugin,
    get_liveness,
    get_metrics,
    get_openapi_3_0_document,
    get_openapi_document,
    get_readiness,
    get_startup,
)
from saldo.http.api.proofs import PROOF_HANDLERS
from saldo.http.api.transactions import (
    get_log,
    get_transaction,
    get_transactions,
    post_transaction,
    post_transactions,
)
from saldo.http.api.users import get_balance, get_user, get_users, post_user
from saldo.http.api.webhooks import WEBHOOK_HANDLERS
from saldo.http.asgi import AsgiApp
from saldo.http.authorization import CONSOLE_PATH
from saldo.http.framework_responses import JsonResponse, convert_response
from saldo.http.openapi.errors import (
    DEFAULT_RESPONSE,
    describe_default_response,
    describe_headers,
)
from saldo.http.openapi.operation_ids import find_operation_id
from saldo.http.problems import Problem, ProblemError
from saldo.http.query_guard import reject_unknown_parameters
from saldo.http.raw_responses import slow_request_log
from saldo.http.request_state import get_request_state
from saldo.http.requests import get_request_id
from saldo.http.route_table import RouteTable, format_allow
from saldo.http.security_headers import ASSETS_PATH, DocumentPage, get_swagger_start_script
from saldo.parsing.faults import InvalidRequestError
from saldo.store.errors import StoreError

_log = logging.getLogger("saldo.http")

_DESCRIPTION = """Saldo keeps users' balances. It processes every transaction exactly once, never lets a \
balance fall below zero, and returns the balance at any date.

Amounts are decimal strings, and times are in RFC 3339. Errors are `application/problem+json` with a \
stable `code`. The uuid of a transaction is its idempotency key: a retry with the same uuid is always safe."""


_TAGS = {
    "transactions": "Deposits and withdrawals, one at a time or in bulk.",
    "users": "Users and their balances.",
    "events": "The live stream of events.",
    "webhooks": "Webhooks and their deliveries.",
    "proofs": "Seals of the log, and proofs of its entries.",
    "keys": "API keys.",
    "operation": "Health checks and metrics.",
}
"""The description of each tag of the OpenAPI document, in the order of the document's page."""

_KEY_SCHEME = SecurityScheme(
    type="http",
    scheme="bearer",
    description="An API key, or a token of the identity provider. As long as no key exists, the service accepts "
    "requests from its own machine only.",
)


PROBE_PATH_PREFIX = "/healthz/"
"""Prefix of the paths whose queries are ignored. Some probes add a parameter to bypass caches, and a 422 would
report a healthy service as unhealthy."""


_HANDLERS = [
    get_openapi_document,
    get_openapi_3_0_document,
    post_transaction,
    post_transactions,
    get_log,
    get_events,
    get_transaction,
    post_user,
    get_user,
    get_users,
    get_balance,
    get_transactions,
    get_liveness,
    get_readiness,
    get_startup,
    get_metrics,
    *PROOF_HANDLERS,
    *WEBHOOK_HANDLERS,
    *KEY_HANDLERS,
]
"""All handlers of the API, in the order of the paths in the OpenAPI document."""

_NOT_FOUND_ROUTES = frozenset({"/docs/{path}", f"{CONSOLE_PATH}/{{rest}}"})
"""Routes that exist only to respond with 404."""


@dataclass(frozen=True, slots=True)
class ConsoleRoutes:
    """The pages that are served in addition to the API (`saldo.console`).

    Attributes:
        routes: Routes of the framework.
        streams: Applications of paths whose responses have no end; see `AsgiApp`.
        error_handler: A prefix of paths, and the function that responds to the router's errors on paths with that
            prefix.
    """

    routes: Sequence[ControllerRouterHandler] = ()
    streams: Mapping[str, Any] = field(default_factory=dict)
    error_handler: (
        tuple[str, Callable[[Request[Any, Any, Any], Exception], Response[bytes]]] | None
    ) = None


def create_app(service: AppContext, console_routes: ConsoleRoutes | None = None) -> AsgiApp:
    """Build the ASGI application."""
    slow_request_log.seconds = service.settings.slow_log_seconds
    streams = {} if console_routes is None else console_routes.streams
    framework = create_framework(service, console_routes)
    route_table = RouteTable(
        [
            *(
                (route.path, route.path_format, route.methods)
                for route in framework.routes
                if isinstance(route, HTTPRoute) and route.path_format not in _NOT_FOUND_ROUTES
            ),
            *((path, path, ("GET",)) for path in streams),
        ]
    )
    return AsgiApp(framework, service, streams, route_table)


def create_framework(service: AppContext, console_routes: ConsoleRoutes | None = None) -> Litestar:
    """Build the framework's part of the application."""
    console_routes = console_routes or ConsoleRoutes()

    def render_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        # The router raises its errors before it reaches a route, so exception handlers of routes do not see them.
        if console_routes.error_handler is not None and request.scope["path"].startswith(
            f"{console_routes.error_handler[0]}/"
        ):
            return console_routes.error_handler[1](request, error)
        return _render_http_error(request, error)

    def provide_service() -> AppContext:
        return service

    return Litestar(
        route_handlers=[
            *_HANDLERS,
            _create_documentation_router(),
            get_swagger_start_script,
            *console_routes.routes,
        ],
        dependencies={"service": Provide(provide_service, sync_to_thread=False)},
        openapi_config=OpenAPIConfig(
            title="Saldo",
            version=__version__,
            description=_DESCRIPTION,
            use_handler_docstrings=True,
            contact=Contact(name="The Saldo developers"),
            license=License(name="MIT", identifier="MIT"),
            tags=[Tag(name, description) for name, description in _TAGS.items()],
            operation_id_creator=find_operation_id,
            components=Components(
                responses={DEFAULT_RESPONSE: describe_default_response()},
                headers=describe_headers(),
                security_schemes={"bearer": _KEY_SCHEME},
            ),
            security=[{"bearer": []}],
            path="/docs",
            render_plugins=[DocumentPage(path="/"), DocumentPlugin()],
        ),
        before_request=_check_query,
        response_class=JsonResponse,
        exception_handlers={
            ProblemError: _render_problem_error,
            InvalidRequestError: _render_request_error,
            StoreError: _render_request_error,
            HTTPException: render_http_error,
            Exception: _render_internal_error,
        },
        request_max_body_size=service.settings.body_bytes_max,
        logging_config=None,
        signature_types=[AppContext],
    )


def _check_query(request: Request[Any, Any, Any]) -> None:
    if not request.scope["path"].startswith(PROBE_PATH_PREFIX):
        reject_unknown_parameters(request)


def _create_documentation_router() -> Router:
    """Serve Swagger UI from an installed package, so that the page works without internet access."""
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package swagger-ui-py is not installed")
    return create_assets_router(ASSETS_PATH, Path(spec.origin).parent / "static")


def create_assets_router(path: str, directory: Path) -> Router:
    """Return a router that serves the files of a directory to pages."""
    return create_static_files_router(
        path=path,
        directories=[directory],
        name=f"assets of {path}",
        include_in_schema=False,
        exception_handlers={InternalServerException: _render_file_error},
    )


def _render_problem_error(request: Request[Any, Any, Any], error: ProblemError) -> Response[bytes]:
    return convert_response(error.problem.build_response(get_request_id(request)))


def _render_request_error(
    request: Request[Any, Any, Any], error: InvalidRequestError | StoreError
) -> Response[bytes]:
    identity = get_request_id(request)
    return convert_response(problems.convert_error(error, identity).build_response(identity))


def _render_http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    identity = get_request_id(request)
    if error.status_code == 404:
        problem_response = problems.build_not_found().build_response(identity)
    elif error.status_code == 405:
        problem_response = problems.build_method_not_allowed(request.method).build_response(
            identity
        )
    elif error.status_code == 413:
        limit = request.app.request_max_body_size
        problem_response = problems.build_body_too_large(
            limit if isinstance(limit, int) else 0
        ).build_response(identity)
    elif error.status_code < 500:
        message = str(error.detail)[:300]
        errors = [{"field": "request", "message": message}]
        problem_response = Problem("invalid", message, {"errors": errors}).build_response(identity)
    else:
        return _render_internal_error(request, error)
    response = convert_response(problem_response)
    for name, value in (error.headers or {}).items():
        response.headers[name] = format_allow(value.split(", ")) if name == "allow" else value
    return response


def _render_file_error(
    request: Request[Any, Any, Any], error: InternalServerException
) -> Response[bytes]:
    """Respond with 404 if a file's name is too long for the file system. All other errors are internal errors."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
        return convert_response(problems.build_not_found().build_response(get_request_id(request)))
    return _render_internal_error(request, error)


def _render_internal_error(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if not get_request_state(request.scope).is_abandoned:
        _log.error("request %s failed", get_request_id(request), exc_info=error)
    return convert_response(problems.build_internal().build_response(get_request_id(request)))
