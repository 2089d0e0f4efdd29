"""Simpler forms of the framework's schemas, because client generators turn each detour into a type of its own."""

from __future__ import annotations

from typing import Any, Final, get_args

from saldo.auth.grants import SCOPES
from saldo.events.event import RELAYED_EVENT_TYPES
from saldo.http.schemas import ledger, proofs
from saldo.store.webhooks import DeliveryState, DisabledReason

SCHEMAS: Final = "#/components/schemas/"

ENUMS: Final[dict[str, tuple[str, tuple[str, ...]]]] = {
    "TransactionType": ("The direction of a transaction.", get_args(ledger.TransactionTypeName)),
    "Outcome": ("The recorded outcome of a transaction.", get_args(ledger.OutcomeName)),
    "HealthStatus": ("The result of a health check.", get_args(ledger.HealthStatus)),
    "EntryKind": ("The kind of an entry of the log.", get_args(proofs.EntryKind)),
    "EventType": ("The type of an event.", RELAYED_EVENT_TYPES),
    "DeliveryState": ("The state of a delivery that is stored.", get_args(DeliveryState)),
    "DisabledReason": ("The reason why a webhook is disabled.", get_args(DisabledReason)),
    "Scope": ("A permission of a key.", tuple(map(str, SCOPES))),
}
"""The description and the values of each enumeration that is a component, by its name."""

_NAMES: Final = {frozenset(values): name for name, (_, values) in ENUMS.items()}
_NULL: Final = {"type": "null"}
_DATA: Final = frozenset({"examples", "example", "default", "enum", "const"})
"""Fields whose values are data and not parts of the document."""


def simplify_schemas(part: Any) -> Any:
    """Return a part of the document with the simplest form of each schema.

    Examples have no field `id`, which is not part of the specification. Integers have the format `int64`, because
    without it generators for Go, Java, Rust and C# use 32 bits. Schemas with one alternative are replaced by it, and
    enumerations by references to the components in `ENUMS`.
    """
    if isinstance(part, list):
        return [simplify_schemas(item) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {
        name: value if name in _DATA else simplify_schemas(value) for name, value in part.items()
    }
    examples = part.get("examples")
    if isinstance(examples, dict):
        schema["examples"] = {
            name: {field: value for field, value in example.items() if field != "id"}
            for name, example in examples.items()
        }
    if schema.get("required") == []:
        del schema["required"]  # OpenAPI 3.0 does not allow an empty list
    schema = _merge_alternatives(schema)
    types = schema.get("type")
    if types == "integer" or (isinstance(types, list) and "integer" in types):
        schema.setdefault("format", "int64")
    return _refer_to_enum(schema)


def extract_schemas(part: Any, schemas: dict[str, Any]) -> Any:
    """Return a part of the document in which each object schema with a title is a reference.

    Args:
        schemas: The schemas of the components, to which the object schemas are added under their titles.

    Raises:
        ValueError: Two different schemas have the same title.
    """
    if isinstance(part, list):
        return [extract_schemas(item, schemas) for item in part]
    if not isinstance(part, dict):
        return part
    schema = {
        name: value if name in _DATA else extract_schemas(value, schemas)
        for name, value in part.items()
    }
    title = schema.get("title")
    if schema.get("type") != "object" or not isinstance(title, str):
        return schema
    if schemas.setdefault(title, schema) != schema:
        raise ValueError(f"two different schemas have the title {title}")
    return {"$ref": f"{SCHEMAS}{title}"}


def describe_enum(name: str) -> dict[str, Any]:
    """Return the schema of an enumeration that is a component."""
    description, values = ENUMS[name]
    return {"type": "string", "title": name, "description": description, "enum": list(values)}


def _merge_alternatives(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a schema without `oneOf` and `allOf`, if one alternative beside null remains."""
    for keyword in ("oneOf", "allOf"):
        alternatives = schema.get(keyword)
        if not isinstance(alternatives, list):
            continue
        own = {name: value for name, value in schema.items() if name != keyword}
        values = _join_enums([each for each in alternatives if each != _NULL])
        if len(values) != 1:
            return {**own, keyword: [*values, *([_NULL] if _NULL in alternatives else [])]}
        merged = {**values[0], **own}
        if _NULL not in alternatives:
            return merged
        if isinstance(merged.get("type"), str) and "enum" not in merged:
            return {**merged, "type": [merged["type"], "null"]}
        return {**own, keyword: [values[0], _NULL]}
    return schema


def _join_enums(alternatives: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return alternatives that are all lists of strings as one list."""
    values = [
        value
        for each in alternatives
        for value in each.get("enum", [each["const"]] if "const" in each else [])
    ]
    are_enums = all("enum" in each or "const" in each for each in alternatives)
    if len(alternatives) < 2 or not are_enums:
        return alternatives
    return [_refer_to_enum({"type": "string", "enum": values})]


def _refer_to_enum(schema: dict[str, Any]) -> dict[str, Any]:
    values = schema.get("enum")
    if not isinstance(values, list):
        return schema
    name = _NAMES.get(frozenset(value for value in values if value is not None))
    if name is None:
        return schema
    own = {field: value for field, value in schema.items() if field not in ("type", "enum")}
    reference = {"$ref": f"{SCHEMAS}{name}"}
    return {**own, "oneOf": [reference, _NULL]} if None in values else {**reference, **own}
