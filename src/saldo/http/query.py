"""Queries, for every route of the framework: a parameter nobody reads is refused, never ignored.

`?dat=2023-10-30` answered with the balance of now would be a wrong answer, not a lenient one.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from functools import cache
from typing import Any

from litestar import Request
from litestar.handlers import BaseRouteHandler
from litestar.params import QueryParameter

from saldo.http.wire import Fault, InvalidError

NAME_LENGTH_MAX = 100
"""Characters of an unknown name that the answer repeats."""


def refuse_unread_parameters(request: Request[Any, Any, Any]) -> None:
    """Runs before each handler.

    Raises:
        InvalidError: a parameter that the handler doesn't read, or one that is given twice.
    """
    if not request.scope["query_string"]:
        return
    given = [name for name, _ in request.query_params.multi_items()]
    faults = unread(given, parameters_of(request.route_handler))
    if faults:
        raise InvalidError(faults)


def unread(given: Iterable[str], expected: tuple[str, ...]) -> list[Fault]:
    """A fault for each parameter that is not expected, or is given twice."""
    counted = Counter(given)
    faults = [
        Fault(name[:NAME_LENGTH_MAX], f"is not a parameter of this request; {_listed(expected)}")
        for name in counted
        if name not in expected
    ]
    return faults + [Fault(name, "is given twice") for name in expected if counted[name] > 1]


@cache
def parameters_of(handler: BaseRouteHandler) -> tuple[str, ...]:
    """The names of a handler's query parameters, as clients write them: from its signature."""
    return tuple(
        field.kwarg_definition.name or name
        for name, field in handler.parsed_fn_signature.parameters.items()
        if isinstance(field.kwarg_definition, QueryParameter)
    )


def _listed(expected: tuple[str, ...]) -> str:
    if not expected:
        return "it has none"
    *first, last = expected
    names = f"{', '.join(first)} and {last}" if first else last
    return f"there {'are' if first else 'is'} {names}"
