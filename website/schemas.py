"""Tables of fields, generated from JSON Schema."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

Schema = Mapping[str, Any]

REFERENCE: Final = "#/components/schemas/"


def field_table(schema: Schema, *, optional: bool) -> list[str]:
    """Return the table of an object's fields in Markdown.

    Args:
        schema: The schema of the object.
        optional: Whether to mark optional fields.
    """
    required = set(schema.get("required", ()))
    lines = ["| field | type | description |", "|---|---|---|"]
    for name, each in schema["properties"].items():
        description = each.get("description", "")
        if optional and name not in required:
            description = f"Optional. {description}"
        lines.append(f"| `{name}` | {describe_type(each)} | {escape_cell(description)} |")
    return [*lines, ""]


def describe_type(schema: Schema) -> str:
    """Describe the type of a schema in words, without its patterns."""
    if "$ref" in schema:
        name = schema["$ref"].removeprefix(REFERENCE)
        return f"[{name}](#{name.lower()})"
    if "const" in schema:
        return f"`{schema['const']}`"
    if "enum" in schema:
        return " or ".join(f"`{each}`" for each in schema["enum"] if each is not None)
    if "oneOf" in schema:
        return " or ".join(dict.fromkeys(describe_type(each) for each in schema["oneOf"]))
    types = schema.get("type", "any")
    if isinstance(types, list):
        return " or ".join(describe_type({**schema, "type": name}) for name in types)
    if types == "array":
        return f"array of {describe_type(schema.get('items', {}))}"
    return f"{types}, {schema['format']}" if "format" in schema and types != "null" else str(types)


def referenced_components(schema: Any) -> Iterator[str]:
    """Yield the names of the components that a part of a document refers to."""
    if isinstance(schema, Mapping):
        if "$ref" in schema:
            yield schema["$ref"].removeprefix(REFERENCE)
        for each in schema.values():
            yield from referenced_components(each)
    elif isinstance(schema, list):
        for each in schema:
            yield from referenced_components(each)


def escape_cell(text: str) -> str:
    """Escape a text for a cell of a table."""
    return " ".join(text.split()).replace("|", "\\|")
