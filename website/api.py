"""The reference page of the API, generated from the service's OpenAPI document."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from saldo.http.api.context import AppContext
from saldo.http.litestar_app import create_framework
from saldo.http.openapi.document import build_openapi_document
from saldo.settings.model import Settings
from website.schemas import Schema, describe_type, escape_cell, field_table, referenced_components

_BEGINNING: Final = """# HTTP API reference

This page is generated from the OpenAPI document, which the service serves at `/openapi.json` with all examples and
patterns. The service also has an interactive page at `/docs`.

- **Authentication.** Send an API key or a token as `Authorization: Bearer <key>` ([how](../howto/secure.md)). The
  health checks need no key.
- **Idempotency.** The uuid of a transaction is its idempotency key. A retry with the same uuid is always safe
  ([why](../explanation/exactly-once.md)).
- **Errors.** Every error is an `application/problem+json` object with a stable `code` ([all errors](errors.md)).
- **Pagination.** A list returns pages of at most `limit` items. To get the next page, send `next_cursor` as `cursor`,
  until `next_cursor` is null.
- **Amounts and times.** Amounts are decimal strings. Times in responses are in RFC 3339, with an offset.
"""

_TAGS: Final = {
    "transactions": "Transactions",
    "users": "Users and balances",
    "events": "Live events",
    "webhooks": "Webhooks",
    "proofs": "Seals and proofs",
    "keys": "API keys",
    "operation": "Health checks and metrics",
}


class _ServiceStub:
    """A stub of the service with the attributes that the framework reads at its creation."""

    def __init__(self) -> None:
        self.settings = Settings(_env_file=None)  # type: ignore[call-arg]


def document() -> dict[str, Any]:
    """Return the OpenAPI document, without starting a service."""
    app = create_framework(cast("AppContext", _ServiceStub()))
    return build_openapi_document(app)


def page() -> str:
    """Return the page in Markdown."""
    whole = document()
    operations = [
        (path, method, operation)
        for path, methods in whole["paths"].items()
        for method, operation in methods.items()
    ]
    unknown = {tag for *_, each in operations for tag in each["tags"]} - set(_TAGS)
    if unknown:
        raise LookupError(f"no heading for the operations of {', '.join(sorted(unknown))}")
    lines = [_BEGINNING]
    for tag, heading in _TAGS.items():
        lines += [f"## {heading}", ""]
        for path, method, operation in operations:
            if tag in operation["tags"]:
                lines += _operation(path, method, operation)
    lines += ["## Objects", ""]
    for name in _objects(whole, operations):
        schema = whole["components"]["schemas"][name]
        lines += [f"### {name}", ""]
        lines += (
            field_table(schema, optional=False)
            if "properties" in schema
            else [describe_type(schema), ""]
        )
    return "\n".join(lines).rstrip("\n") + "\n"


def _operation(path: str, method: str, operation: Schema) -> list[str]:
    lines = [f"### {operation['summary']}", "", f"`{method.upper()} {path}`", ""]
    if operation.get("description"):
        lines += [operation["description"], ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | description |", "|---|---|---|---|"]
        lines += [_parameter(each) for each in parameters]
        lines.append("")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += _body(media_type, content)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            lines += _response(status, answer)
    errors = [_error(status, each) for status, each in operation["responses"].items()]
    lines += ["Errors: " + "; ".join(filter(None, errors)) + ".", ""]
    return lines


def _parameter(parameter: Schema) -> str:
    said = parameter.get("description") or parameter["schema"].get("description", "")
    needed = "" if not parameter["required"] or parameter["in"] == "path" else "Required. "
    return (
        f"| `{parameter['name']}` | {parameter['in']} | {describe_type(parameter['schema'])} "
        f"| {needed}{escape_cell(said)} |"
    )


def _body(media_type: str, content: Schema) -> list[str]:
    schema = content["schema"]
    lines = [f"Body, `{media_type}`:", ""]
    if "properties" in schema:
        lines += field_table(schema, optional=True)
    elif schema.get("type") == "array":
        lines += ["An array of transactions with the fields of a single transaction.", ""]
    else:
        lines += [schema.get("description", describe_type(schema)), ""]
    for example in list(content.get("examples", {}).values())[:1]:
        value = example["value"]
        shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        lines += ["```json", shown.rstrip("\n"), "```", ""]
    return lines


def _response(status: str, answer: Schema) -> list[str]:
    lines = []
    for media_type, content in answer.get("content", {}).items():
        schema = content["schema"]
        said = schema.get("description") if "$ref" not in schema else None
        # This is the framework's default description.
        description = answer["description"]
        about = (
            "" if description.startswith("Request fulfilled") else f" {escape_cell(description)}"
        )
        lines += [f"Response {status}, `{media_type}`: {said or describe_type(schema)}.{about}", ""]
    return [line.replace("..", ".") for line in lines]


def _error(status: str, answer: Schema) -> str:
    if status.startswith("2"):
        return ""
    codes = [code for each in answer.get("content", {}).values() for code in each["examples"]]
    return f"{status} " + ", ".join(f"`{code}`" for code in dict.fromkeys(codes))


def _objects(whole: Schema, operations: list[tuple[str, str, Any]]) -> list[str]:
    """Return the names of the schemas in the order in which the operations refer to them."""
    met: dict[str, None] = {}
    waiting = [name for *_, each in operations for name in referenced_components(each)]
    while waiting:
        name = waiting.pop(0)
        if name not in met and name in whole["components"]["schemas"]:
            met[name] = None
            waiting += referenced_components(whole["components"]["schemas"][name])
    return list(met)
