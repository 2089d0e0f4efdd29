"""Check of queries for every route of the framework: unknown parameters are rejected, never ignored.

To answer `?dat=2023-10-30` with the current balance would be wrong, not lenient.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.unknown_parameters import find_unknown_parameters


def reject_unknown_parameters(request: Request[Any, Any, Any]) -> None:
    """Reject a query with unknown or repeated parameters. This runs before each handler.

    Raises:
        InvalidRequestError: A parameter is not read by the handler, or is given twice.
    """
    if not request.scope["query_string"]:
        return
    parameters = [name for name, _ in request.query_params.multi_items()]
    faults = find_unknown_parameters(parameters, list_query_parameters(request.route_handler))
    if faults:
        raise InvalidRequestError(faults)


@cache
def list_query_parameters(handler: BaseRouteHandler) -> tuple[str, ...]:
    """Return the names of a handler's query parameters, as clients write them, from its signature."""
    return tuple(
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )
