"""The framework's application behind the front: routes, documentation, every error a problem."""

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
from litestar.openapi.spec import Components, SecurityScheme
from litestar.static_files import create_static_files_router
from litestar.types import ControllerRouterHandler

from saldo import __version__
from saldo.http import problems
from saldo.http.access import ForbiddenError
from saldo.http.body import CLIENT_GONE
from saldo.http.examples import no_operation_responses
from saldo.http.hot import Front
from saldo.http.keys import KEY_HANDLERS
from saldo.http.pages import ASSETS_PATH, DocumentPage, start_document_page
from saldo.http.proofs import PROOF_HANDLERS
from saldo.http.query import refuse_unread_parameters
from saldo.http.routes import HANDLERS, AnswerError, request_id, response
from saldo.http.sending import slow
from saldo.http.service import Service
from saldo.http.webhooks import WEBHOOK_HANDLERS
from saldo.http.wire import InvalidError
from saldo.store.errors import StoreError

_log = logging.getLogger("saldo.http")

_DESCRIPTION = """Keeps users' balances: every transaction is processed exactly once, a balance is \
never negative, and the balance at any date can be asked.

Money is a decimal string; times are RFC 3339. Errors are `application/problem+json` with a stable \
`code`. Every retry with the same uuid is safe."""


_KEY_SCHEME = SecurityScheme(
    type="http",
    scheme="bearer",
    description="A key, or a token of the identity provider. While there is none, the service "
    "answers on loopback only.",
)


@dataclass(frozen=True, slots=True)
class Pages:
    """What is served beside the API (`saldo.console`).

    Attributes:
        routes: of the framework.
        streams: see `Front`.
        failed: says in its own way that there is no route, of paths that begin so.
    """

    routes: Sequence[ControllerRouterHandler] = ()
    streams: Mapping[str, Any] = field(default_factory=dict)
    failed: tuple[str, Callable[[Request[Any, Any, Any], Exception], Response[bytes]]] | None = None


def create_app(service: Service, pages: Pages | None = None) -> Front:
    """The ASGI application."""
    slow.seconds = service.settings.slow_seconds
    streams = {} if pages is None else pages.streams
    return Front(create_framework(service, pages), service, streams)


def create_framework(service: Service, pages: Pages | None = None) -> Litestar:
    """The framework's part of it."""
    pages = pages or Pages()

    def http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
        # The router refuses before any route, and any route's own handler, is reached.
        if pages.failed is not None and request.scope["path"].startswith(f"{pages.failed[0]}/"):
            return pages.failed[1](request, error)
        return _http_error(request, error)

    def given_service() -> Service:
        return service

    return Litestar(
        route_handlers=[
            *HANDLERS,
            *PROOF_HANDLERS,
            *WEBHOOK_HANDLERS,
            *KEY_HANDLERS,
            _documentation_assets(),
            start_document_page,
            *pages.routes,
        ],
        dependencies={"service": Provide(given_service, sync_to_thread=False)},
        openapi_config=OpenAPIConfig(
            title="Saldo",
            version=__version__,
            description=_DESCRIPTION,
            components=Components(
                responses=no_operation_responses(), security_schemes={"key": _KEY_SCHEME}
            ),
            security=[{"key": []}],
            path="/docs",
            render_plugins=[DocumentPage(path="/")],
        ),
        before_request=_before,
        exception_handlers={
            AnswerError: _answer,
            ForbiddenError: _forbidden,
            InvalidError: _problem,
            StoreError: _problem,
            HTTPException: http_error,
            Exception: _internal,
        },
        request_max_body_size=service.settings.body_bytes_max,
        logging_config=None,
        signature_types=[Service],
    )


def _before(request: Request[Any, Any, Any]) -> Response[None] | None:
    if request.method == "OPTIONS":
        # The framework's own answer forgets methods where a path has several handlers.
        return Response(None, status_code=204, headers={"allow": _methods_of(request)})
    refuse_unread_parameters(request)
    return None


def _methods_of(request: Request[Any, Any, Any]) -> str:
    template = request.scope["path_template"]
    (route,) = (each for each in request.app.routes if each.path_format == template)
    return ", ".join(sorted(route.methods))


def _documentation_assets() -> Router:
    """Swagger UI from an installed package: the page works without the internet."""
    spec = find_spec("swagger_ui")
    if spec is None or spec.origin is None:
        raise RuntimeError("the package swagger-ui-py is not installed")
    return assets_of(ASSETS_PATH, Path(spec.origin).parent / "static")


def assets_of(path: str, directory: Path) -> Router:
    """The files of a directory, for pages."""
    return create_static_files_router(
        path=path,
        directories=[directory],
        name=f"assets of {path}",
        include_in_schema=False,
        exception_handlers={InternalServerException: _no_such_file},
    )


def _answer(_: Request[Any, Any, Any], error: AnswerError) -> Response[bytes]:
    return response(error.answer)


def _forbidden(request: Request[Any, Any, Any], error: ForbiddenError) -> Response[bytes]:
    return response(error.problem.answer(request_id(request)))


def _problem(request: Request[Any, Any, Any], error: InvalidError | StoreError) -> Response[bytes]:
    identity = request_id(request)
    return response(problems.of_error(error, identity).answer(identity))


def _http_error(request: Request[Any, Any, Any], error: HTTPException) -> Response[bytes]:
    identity = request_id(request)
    if error.status_code == 404:
        answer = problems.not_found().answer(identity)
    elif error.status_code == 405:
        answer = problems.method_not_allowed(request.method).answer(identity)
    elif error.status_code == 413:
        limit = request.app.request_max_body_size
        answer = problems.body_too_large(limit if isinstance(limit, int) else 0).answer(identity)
    elif error.status_code < 500:
        message = str(error.detail)[:300]
        answer = problems.problem(
            "invalid",
            message,
            request_id=identity,
            errors=[{"field": "request", "message": message}],
        )
    else:
        return _internal(request, error)
    result = response(answer)
    for name, value in (error.headers or {}).items():
        result.headers[name] = value
    return result


def _no_such_file(
    request: Request[Any, Any, Any], error: InternalServerException
) -> Response[bytes]:
    """No file has a name that the file system can't have."""
    cause = error.__cause__
    if isinstance(cause, OSError) and cause.errno == errno.ENAMETOOLONG:
        return response(problems.not_found().answer(request_id(request)))
    return _internal(request, error)


def _internal(request: Request[Any, Any, Any], error: Exception) -> Response[bytes]:
    if CLIENT_GONE not in request.scope["state"]:
        _log.error("request %s failed", request_id(request), exc_info=error)
    return response(problems.internal().answer(request_id(request)))
