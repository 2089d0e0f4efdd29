"""The routes of operation: health, metrics and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.plugins import JsonRenderPlugin
from litestar.openapi.spec import Example

from saldo import __version__
from saldo.encoding.json import encode_json
from saldo.http.api.context import AppContext, InjectedContext
from saldo.http.api.database_metrics import read_database_metrics
from saldo.http.framework_responses import JsonResponse
from saldo.http.openapi.bodies import (
    DocumentedOperation,
)
from saldo.http.openapi.document import build_openapi_document
from saldo.http.openapi.errors import describe_problems
from saldo.http.openapi.version_3_0 import convert_to_3_0
from saldo.http.readiness import ProbeDisconnectedError, create_disconnect_check
from saldo.http.request_state import get_request_state
from saldo.http.requests import HttpRequest
from saldo.http.schemas import ledger
from saldo.observability.exposition import render_metrics

NO_KEY_NEEDED: list[dict[str, list[str]]] = [{}]
"""Security requirement, in the OpenAPI document, of routes that need no key."""


@get(
    "/healthz/live",
    summary="Check liveness",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=describe_problems(guarded=False),
)
async def get_liveness() -> ledger.Health:
    """Reports that the process responds. The result does not depend on the database."""
    return ledger.Health("ok")


def _describe_unready_responses(*statuses: str) -> dict[int, ResponseSpec]:
    """Return the responses of a health check other than `ok`, with an example of each status."""
    return {
        **describe_problems(guarded=False),
        503: ResponseSpec(
            ledger.Health,
            description="The service is not ready.",
            generate_examples=False,
            examples=[Example(id=status, value={"status": status}) for status in statuses],
        ),
    }


@get(
    "/healthz/ready",
    summary="Check readiness",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=_describe_unready_responses("draining", "unavailable"),
)
async def get_readiness(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service can post transactions: the database accepts writes, the queue is not full, and the
    service is not stopping."""
    if service.readiness.is_draining:
        return JsonResponse(ledger.Health("draining"), status_code=503)
    return _build_health(
        not service.engine.admission.is_full and await _is_database_ready(request, service)
    )


@get(
    "/healthz/startup",
    summary="Check startup",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=_describe_unready_responses("unavailable"),
)
async def get_startup(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service has ever been ready. Later failures of the database do not change the result."""
    return _build_health(service.reader.was_ready or await _is_database_ready(request, service))


async def _is_database_ready(request: HttpRequest, service: AppContext) -> bool:
    try:
        return await service.readiness.check(
            service.reader.is_ready, create_disconnect_check(request.scope)
        )
    except ProbeDisconnectedError:
        # The probe is neither answered nor counted, because its own timeout is no failure of the service.
        state = get_request_state(request.scope)
        state.is_abandoned = True
        if state.connection is not None:
            state.connection.abort()
        return False


def _build_health(is_healthy: bool) -> Response[ledger.Health]:
    return JsonResponse(
        ledger.Health("ok" if is_healthy else "unavailable"), status_code=200 if is_healthy else 503
    )


@get(
    "/metrics",
    summary="Get metrics",
    tags=["operation"],
    operation_class=DocumentedOperation,
    media_type="text/plain",
    responses=describe_problems(),
)
async def get_metrics(service: InjectedContext, request: HttpRequest) -> Response[bytes]:
    """Returns the metrics of all workers in Prometheus' text format, or in OpenMetrics if the client accepts it."""
    body, content_type = render_metrics(
        request.headers.get("accept", ""),
        __version__,
        await read_database_metrics(service),
        has_several_workers=service.settings.workers > 1,
        wakeup_path=service.wakeup_path,
    )
    return Response(body, headers={"content-type": content_type})


@get("/openapi.json", include_in_schema=False)
async def get_openapi_document(request: HttpRequest) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return _build_document(request)


@get("/openapi-3.0.json", include_in_schema=False)
async def get_openapi_3_0_document(request: HttpRequest) -> dict[str, Any]:
    """Return the OpenAPI 3.0 form of the document."""
    return convert_to_3_0(_build_document(request))


class DocumentPlugin(JsonRenderPlugin):
    """The OpenAPI 3.1 document beside its page, in place of the framework's own."""

    def render(self, request: HttpRequest, openapi_schema: dict[str, Any]) -> bytes:
        """Return the document."""
        return encode_json(_build_document(request))


def _build_document(request: HttpRequest) -> dict[str, Any]:
    path_prefix = get_request_state(request.scope).path_prefix
    document = build_openapi_document(request.app)
    return document | {"servers": [{"url": path_prefix}]} if path_prefix else document
