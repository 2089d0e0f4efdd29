"""The routes of operation: health, metrics and the OpenAPI document."""

from __future__ import annotations

from typing import Any

from litestar import Response, get
from litestar.openapi.datastructures import ResponseSpec
from litestar.openapi.spec import Example

from saldo import __version__
from saldo.http.api.context import AppContext, InjectedContext
from saldo.http.api.database_metrics import read_database_metrics
from saldo.http.framework_responses import JsonResponse
from saldo.http.openapi.bodies import (
    DocumentedOperation,
)
from saldo.http.openapi.document import openapi_document
from saldo.http.openapi.errors import problem_specs
from saldo.http.readiness import ProbeDisconnectedError, disconnect_check
from saldo.http.request_state import request_state
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
    responses=problem_specs(guarded=False),
)
async def live() -> ledger.Health:
    """Reports that the process responds. The result does not depend on the database."""
    return ledger.Health("ok")


def _not_ready(*statuses: str) -> dict[int, ResponseSpec]:
    """Return the responses of a health check other than `ok`, with an example of each status."""
    return {
        **problem_specs(guarded=False),
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
    responses=_not_ready("draining", "unavailable"),
)
async def ready(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service can post transactions: the database accepts writes, the queue is not full, and the
    service is not stopping."""
    if service.readiness.draining:
        return JsonResponse(ledger.Health("draining"), status_code=503)
    return _health(not service.engine.admission.is_full and await _database_ready(request, service))


@get(
    "/healthz/startup",
    summary="Check startup",
    tags=["operation"],
    operation_class=DocumentedOperation,
    security=NO_KEY_NEEDED,
    responses=_not_ready("unavailable"),
)
async def startup(request: HttpRequest, service: InjectedContext) -> Response[ledger.Health]:
    """Reports whether the service has ever been ready. Later failures of the database do not change the result."""
    return _health(service.reader.was_ready or await _database_ready(request, service))


async def _database_ready(request: HttpRequest, service: AppContext) -> bool:
    try:
        return await service.readiness.check(
            service.reader.is_ready, disconnect_check(request.scope)
        )
    except ProbeDisconnectedError:
        # The probe is neither answered nor counted, because its own timeout is no failure of the service.
        request_state(request.scope).is_abandoned = True
        return False


def _health(well: bool) -> Response[ledger.Health]:
    return JsonResponse(
        ledger.Health("ok" if well else "unavailable"), status_code=200 if well else 503
    )


@get(
    "/metrics",
    summary="Get metrics",
    tags=["operation"],
    operation_class=DocumentedOperation,
    media_type="text/plain",
    responses=problem_specs(),
)
async def metrics(service: InjectedContext, request: HttpRequest) -> Response[bytes]:
    """Returns the metrics of all workers in Prometheus' text format, or in OpenMetrics if the client accepts it."""
    body, content_type = render_metrics(
        request.headers.get("accept", ""),
        __version__,
        await read_database_metrics(service),
        has_several_processes=service.settings.workers > 1,
    )
    return Response(body, headers={"content-type": content_type})


@get("/openapi.json", include_in_schema=False)
async def openapi(request: HttpRequest) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document."""
    return openapi_document(request.app)
