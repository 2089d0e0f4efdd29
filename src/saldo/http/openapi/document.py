"""The OpenAPI document, in the form that client generators accept and that makes convenient clients."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from typing import Any, Final

from litestar import Litestar

from saldo.http import problems
from saldo.http.openapi.errors import (
    DATABASE_CODES,
    DEFAULT_RESPONSE,
    HEADERS,
    list_response_headers,
)
from saldo.http.openapi.schema_forms import (
    ENUMS,
    SCHEMAS,
    describe_enum,
    extract_schemas,
    simplify_schemas,
)

_RESPONSES: Final = "#/components/responses/"


@lru_cache(maxsize=1)
def build_openapi_document(app: Litestar) -> dict[str, Any]:
    """Return the OpenAPI 3.1 document of the application.

    The framework's document is rewritten: schemas get simpler forms (`schema_forms`), request bodies, enumerations and
    errors become named components, and each operation gets a default response and the headers of its responses.

    The document is built once, because that takes tens of milliseconds and needs no key. Callers must not change it.
    """
    document: dict[str, Any] = simplify_schemas(app.openapi_schema.to_schema())
    components = document["components"]
    document["paths"] = extract_schemas(document["paths"], components["schemas"])
    _list_problem_codes(components["schemas"])
    names = {frozenset(DATABASE_CODES): "Unavailable"}
    for operation in _list_operations(document):
        _describe_responses(operation, components["responses"], names)
    referenced = set(find_references(document))
    for name in ENUMS:
        if f"{SCHEMAS}{name}" in referenced:
            components["schemas"][name] = describe_enum(name)
    components["schemas"] = dict(sorted(components["schemas"].items()))
    return document


def find_references(part: Any) -> Iterator[str]:
    """Yield the target of each reference in a part of a document."""
    if isinstance(part, dict):
        if isinstance(part.get("$ref"), str):
            yield part["$ref"]
        for item in part.values():
            yield from find_references(item)
    elif isinstance(part, list):
        for item in part:
            yield from find_references(item)


def _list_operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for operations in document["paths"].values():
        yield from operations.values()


def _list_problem_codes(schemas: dict[str, Any]) -> None:
    """Add the known codes to the schemas of problems and bulk outcomes.

    They are not an `enum`, because a generated client would then reject a code that a later version of Saldo adds.
    """
    schemas["Problem"]["properties"]["code"]["x-extensible-enum"] = list(problems.CODES)
    outcomes = ["posted", *problems.CODES]
    schemas["BulkOutcome"]["properties"]["code"]["x-extensible-enum"] = outcomes


def _describe_responses(
    operation: dict[str, Any], components: dict[str, Any], names: dict[frozenset[str], str]
) -> None:
    """Replace the problems of an operation by references to components, and add the headers and the default response.

    Args:
        components: The responses of the components, to which the problems are added.
        names: The names of the components by the codes of their problems, to which new ones are added.
    """
    responses = operation["responses"]
    for status, response in responses.items():
        problem = response.get("content", {}).get(problems.MEDIA_TYPE)
        if problem is None:
            response["headers"] = _refer_to_headers("X-Request-Id") | response.get("headers", {})
            continue
        codes = {example["value"]["code"]: None for example in problem["examples"].values()}
        new_name = _name_response(tuple(codes), operation["operationId"], status)
        name = names.setdefault(frozenset(codes), new_name)
        component = components.setdefault(name, response)
        examples = component["content"][problems.MEDIA_TYPE]["examples"]
        component["content"][problems.MEDIA_TYPE]["examples"] = problem["examples"] | examples
        headers = [header for code in codes for header in list_response_headers(code)]
        component["headers"] = _refer_to_headers(*headers)
        responses[status] = {"$ref": f"{_RESPONSES}{name}"}
    responses["default"] = {"$ref": f"{_RESPONSES}{DEFAULT_RESPONSE}"}


def _name_response(codes: tuple[str, ...], operation_id: str, status: str) -> str:
    """Return a name of a component for a response with these codes, such as `UserNotFound`.

    A response with several codes is named after the first operation that has it, such as `CreateTransaction503`.
    """
    if len(codes) == 1:
        return "".join(word.capitalize() for word in codes[0].split("_"))
    return f"{operation_id[0].upper()}{operation_id[1:]}{status}"


def _refer_to_headers(*names: str) -> dict[str, Any]:
    return {name: {"$ref": f"#/components/headers/{HEADERS[name]}"} for name in names}
