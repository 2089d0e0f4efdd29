"""Tables of fields, from JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

REFERENCE: Final = "#/components/schemas/"


def fields(schema: Schema, *, optional: bool) -> list[str]:
    """The table of an object's fields, in Markdown.

    Args:
        schema: of an object.
        optional: whether to say which need not be there.
    """
    required = set(schema.get("required", ()))
    lines = ["| field | type | |", "|---|---|---|"]
    for name, each in schema["properties"].items():
        description = each.get("description", "")
        if optional and name not in required:
            description = f"Optional. {description}"
        lines.append(f"| `{name}` | {kind(each)} | {cell(description)} |")
    return [*lines, ""]


def kind(schema: Schema) -> str:
    """A type in words: what is allowed, without the patterns."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"] if each is not None)
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(kind(each) for each in schema["oneOf"]))
    types = schema.get("type", "any")
    if types == "array":
        return f"array of {kind(schema.get('items', {}))}"
    if isinstance(types, list):
        return " or ".join(types)
    return f"{types}, {schema['format']}" if "format" in schema else str(types)


def referred(schema: Any) -> Iterator[str]:
    """The names of the components that a part of a document refers to."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(REFERENCE)
        for each in schema.values():
            yield from referred(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from referred(each)


def cell(text: str) -> str:
    """A text as it may stand in a table."""
    return " ".join(text.split()).replace("|", "\\|")
