"""The page of the API, from the document that the service makes of itself."""

from __future__ import annotations

import json
from typing import Any, Final, cast

from saldo.http.app import create_framework
from saldo.http.service import Service
from saldo.settings import Settings
from website.schemas import Schema, cell, fields, kind, referred

_BEGINNING: Final = """# The API

Made from the OpenAPI document, which the service has at `/openapi.json`, with every example and every pattern; a page
to try it on is at `/docs`. Errors are one object everywhere, [with a code that stays](errors.md). Every retry with the
same uuid is safe.
"""

_TAGS: Final = {
    "transactions": "Transactions",
    "users": "Users and balances",
    "events": "Events",
    "webhooks": "Webhooks",
    "proofs": "Seals and proofs",
    "keys": "Keys",
    "operation": "Operation",
}


class _Unstarted:
    """As much of a service as the framework reads of it when it is put together."""

    def __init__(self) -> None:
        self.settings = Settings(_env_file=None)  # type: ignore[call-arg]


def document() -> dict[str, Any]:
    """The OpenAPI document, of a service that is not started."""
    app = create_framework(cast("Service", _Unstarted()))
    return app.openapi_schema.to_schema()


def page() -> str:
    """The page, in Markdown."""
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
        lines += fields(schema, optional=False) if "properties" in schema else [kind(schema), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _operation(path: str, method: str, operation: Schema) -> list[str]:
    lines = [f"### {operation['summary']}", "", f"`{method.upper()} {path}`", ""]
    if operation.get("description"):
        lines += [operation["description"], ""]
    if parameters := operation.get("parameters"):
        lines += ["| parameter | in | type | |", "|---|---|---|---|"]
        lines += [_parameter(each) for each in parameters]
        lines.append("")
    for media_type, content in operation.get("requestBody", {}).get("content", {}).items():
        lines += _body(media_type, content)
    for status, answer in operation["responses"].items():
        if status.startswith("2"):
            lines += _answer(status, answer)
    errors = [_error(status, each) for status, each in operation["responses"].items()]
    lines += ["Errors: " + "; ".join(filter(None, errors)) + ".", ""]
    return lines


def _parameter(parameter: Schema) -> str:
    said = parameter.get("description") or parameter["schema"].get("description", "")
    needed = "" if not parameter["required"] or parameter["in"] == "path" else "Required. "
    return (
        f"| `{parameter['name']}` | {parameter['in']} | {kind(parameter['schema'])} "
        f"| {needed}{cell(said)} |"
    )


def _body(media_type: str, content: Schema) -> list[str]:
    schema = content["schema"]
    lines = [f"Body, `{media_type}`:", ""]
    if "properties" in schema:
        lines += fields(schema, optional=True)
    elif schema.get("type") == "array":
        lines += ["An array of the same.", ""]
    else:
        lines += [schema.get("description", kind(schema)), ""]
    for example in list(content.get("examples", {}).values())[:1]:
        value = example["value"]
        shown = value if isinstance(value, str) else json.dumps(value, indent=2, ensure_ascii=False)
        lines += ["```json", shown.rstrip("\n"), "```", ""]
    return lines


def _answer(status: str, answer: Schema) -> list[str]:
    lines = []
    for media_type, content in answer.get("content", {}).items():
        schema = content["schema"]
        said = schema.get("description") if "$ref" not in schema else None
        # What the framework says where nothing else is said.
        description = answer["description"]
        about = "" if description.startswith("Request fulfilled") else f" {cell(description)}"
        lines += [f"Answer {status}, `{media_type}`: {said or kind(schema)}.{about}", ""]
    return [line.replace("..", ".") for line in lines]


def _error(status: str, answer: Schema) -> str:
    if status.startswith("2"):
        return ""
    codes = [code for each in answer.get("content", {}).values() for code in each["examples"]]
    return f"{status} " + ", ".join(f"`{code}`" for code in dict.fromkeys(codes))


def _objects(whole: Schema, operations: list[tuple[str, str, Any]]) -> list[str]:
    """The names of the objects, in the order in which they are met."""
    met: dict[str, None] = {}
    waiting = [name for *_, each in operations for name in referred(each)]
    while waiting:
        name = waiting.pop(0)
        if name not in met and name in whole["components"]["schemas"]:
            met[name] = None
            waiting += referred(whole["components"]["schemas"][name])
    return list(met)
