"""The OpenAPI 3.0 form of the document, for generators that can't read 3.1, such as progenitor for Rust."""

from __future__ import annotations

from typing import Any, Final

from saldo.http.openapi.document import find_references
from saldo.http.openapi.schema_forms import SCHEMAS

_DATA: Final = frozenset({"examples", "example", "default", "enum", "x-extensible-enum"})
"""Fields whose values are data and not parts of the document."""

_LEFT_OUT_TAG: Final = "operation"
"""Tag of the operations that are left out. Health checks have two types of errors, which some of the generators reject,
and are for load balancers and orchestrators."""

_LEFT_OUT_PARAMETER: Final = "Last-Event-ID"
"""Header that is left out, because some of the generators give it the same name as the parameter `last_event_id`."""

_JSON: Final = "application/json"


def convert_to_3_0(document: dict[str, Any]) -> dict[str, Any]:
    """Return the OpenAPI 3.0 form of a 3.1 document.

    The form has one media type for each body, and no health checks and metrics. The differences between the versions
    that Saldo's document does not use are not converted.
    """
    document = _convert(document, document["components"]["schemas"])
    license_ = document["info"]["license"]
    license_["url"] = f"https://spdx.org/licenses/{license_.pop('identifier')}.html"
    paths = {}
    for path, operations in document["paths"].items():
        kept = {
            method: _narrow_operation(operation)
            for method, operation in operations.items()
            if _LEFT_OUT_TAG not in operation["tags"]
        }
        if kept:
            paths[path] = kept
    document |= {"openapi": "3.0.3", "paths": paths}
    document["tags"] = [tag for tag in document["tags"] if tag["name"] != _LEFT_OUT_TAG]
    _remove_unused_components(document)
    return document


def _convert(part: Any, components: dict[str, Any]) -> Any:
    """Return a part of the document with its schemas in the form of 3.0.

    Args:
        components: The schemas of the components.
    """
    if isinstance(part, list):
        return [_convert(item, components) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {
        name: value if name in _DATA else _convert(value, components)
        for name, value in part.items()
    }
    if isinstance(schema.get("type"), list):
        schema["type"], *others = (each for each in schema["type"] if each != "null")
        if others:
            raise ValueError(f"a schema has several types: {part['type']}")
        schema["nullable"] = True
    if isinstance(schema.get("oneOf"), list):
        *alternatives, last = schema["oneOf"]
        if last == {"type": "null"} and len(alternatives) == 1:
            del schema["oneOf"]
            schema |= _allow_null(alternatives[0], components)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    if isinstance(schema.get("examples"), list):
        schema["example"] = schema.pop("examples")[0]
    if isinstance(schema.get("$ref"), str) and len(schema) > 1:
        schema["allOf"] = [{"$ref": schema.pop("$ref")}]
    return schema


def _allow_null(reference: dict[str, Any], components: dict[str, Any]) -> dict[str, Any]:
    """Return the schema of a component or null. `nullable` has no effect without a type in the same schema."""
    component = components[reference["$ref"].removeprefix(SCHEMAS)]
    schema = {"type": component["type"], "nullable": True}
    if "enum" in component:
        return {**schema, "enum": [*component["enum"], None]}
    return {**schema, "allOf": [reference]}


def _narrow_operation(operation: dict[str, Any]) -> dict[str, Any]:
    """Return an operation with one media type for each body, and with parameters whose names differ in all programming
    languages."""
    narrowed = {**operation}
    if "requestBody" in operation:
        narrowed["requestBody"] = _narrow_content(operation["requestBody"])
    narrowed["responses"] = {
        status: _narrow_content(response) for status, response in operation["responses"].items()
    }
    if "parameters" in operation:
        narrowed["parameters"] = [
            each for each in operation["parameters"] if each["name"] != _LEFT_OUT_PARAMETER
        ]
    return narrowed


def _narrow_content(body: dict[str, Any]) -> dict[str, Any]:
    content = body.get("content", {})
    return {**body, "content": {_JSON: content[_JSON]}} if _JSON in content else body


def _remove_unused_components(document: dict[str, Any]) -> None:
    """Remove the schemas, responses and headers to which nothing refers, until all that are left are used."""
    components = document["components"]
    is_complete = False
    while not is_complete:
        referenced = set(find_references(document))
        is_complete = True
        for kind in ("schemas", "responses", "headers"):
            kept = {
                name: each
                for name, each in components[kind].items()
                if f"#/components/{kind}/{name}" in referenced
            }
            is_complete = is_complete and len(kept) == len(components[kind])
            components[kind] = kept
