"""The forms of schemas in the OpenAPI document, and their conversion to OpenAPI 3.0."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

import pytest

from saldo.http.openapi.schema_forms import extract_schemas, simplify_schemas
from saldo.http.openapi.version_3_0 import convert_to_3_0

NULL = {"type": "null"}
TYPE = {"$ref": "#/components/schemas/TransactionType"}
USER = {"$ref": "#/components/schemas/User"}


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": "integer"}, {"type": "integer", "format": "int64"}),
        ({"oneOf": [{"type": "string"}], "title": "A"}, {"type": "string", "title": "A"}),
        ({"allOf": [USER], "description": "A."}, {**USER, "description": "A."}),
        ({"oneOf": [USER, NULL]}, {"oneOf": [USER, NULL]}),
        (
            {"oneOf": [{"type": "integer"}, NULL], "description": "A."},
            {"type": ["integer", "null"], "format": "int64", "description": "A."},
        ),
        ({"type": "string", "enum": ["DEPOSIT", "WITHDRAW"]}, TYPE),
        (
            {"type": ["null", "string"], "enum": ["WITHDRAW", "DEPOSIT", None], "title": "A"},
            {"title": "A", "oneOf": [TYPE, NULL]},
        ),
        ({"oneOf": [{"enum": ["DEPOSIT"]}, {"const": "WITHDRAW"}]}, TYPE),
        ({"type": "string", "enum": ["a", "b"]}, {"type": "string", "enum": ["a", "b"]}),
        (
            {"examples": {"a": {"id": "a", "value": {"id": 1, "type": "integer"}}}},
            {"examples": {"a": {"value": {"id": 1, "type": "integer"}}}},
        ),
    ],
)
def test_schema_gets_its_simplest_form(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    before = deepcopy(schema)
    assert simplify_schemas(schema) == expected
    assert schema == before


def test_titled_objects_become_components() -> None:
    schemas: dict[str, Any] = {}
    request = {"type": "object", "title": "Request", "properties": {"title": {"type": "string"}}}
    found = extract_schemas({"one": request, "many": {"items": request}}, schemas)
    reference = {"$ref": "#/components/schemas/Request"}
    assert found == {"one": reference, "many": {"items": reference}}
    assert schemas == {"Request": request}
    with pytest.raises(ValueError, match="Request"):
        extract_schemas({**request, "properties": {}}, schemas)


def _document(schema: dict[str, Any]) -> dict[str, Any]:
    """Return a document of one operation, whose answer has this schema, and of one health check."""
    operation = {
        "tags": ["users"],
        "parameters": [{"name": "last_event_id"}, {"name": "Last-Event-ID"}],
        "requestBody": {"content": {"application/json": {}, "application/x-ndjson": {}}},
        "responses": {"200": {"content": {"application/json": {"schema": schema}}}},
    }
    return {
        "openapi": "3.1.0",
        "info": {"license": {"name": "MIT", "identifier": "MIT"}},
        "tags": [{"name": "users"}, {"name": "operation"}],
        "paths": {
            "/user": {"get": operation},
            "/live": {
                "get": {
                    "tags": ["operation"],
                    "responses": {"200": {"$ref": "#/components/responses/Live"}},
                }
            },
        },
        "components": {
            "schemas": {
                "User": {
                    "type": "object",
                    "properties": {"a": {"$ref": "#/components/schemas/Type"}},
                },
                "Type": {"type": "string", "enum": ["a"]},
                "Health": {},
            },
            "responses": {
                "Live": {
                    "content": {
                        "application/json": {"schema": {"$ref": "#/components/schemas/Health"}}
                    }
                }
            },
            "headers": {"Unused": {}},
        },
    }


@pytest.mark.parametrize(
    ("schema", "expected"),
    [
        ({"type": ["string", "null"]}, {"type": "string", "nullable": True}),
        ({"oneOf": [USER, NULL]}, {"type": "object", "nullable": True, "allOf": [USER]}),
        (
            {"oneOf": [{"$ref": "#/components/schemas/Type"}, NULL], "description": "A."},
            {"description": "A.", "type": "string", "nullable": True, "enum": ["a", None]},
        ),
        (USER, USER),
        ({**USER, "description": "A."}, {"allOf": [USER], "description": "A."}),
        ({"const": 1}, {"enum": [1]}),
        ({"type": "string", "examples": ["a", "b"]}, {"type": "string", "example": "a"}),
        ({"properties": {"a": {"const": 1}}}, {"properties": {"a": {"enum": [1]}}}),
    ],
)
def test_schema_is_converted_to_3_0(schema: dict[str, Any], expected: dict[str, Any]) -> None:
    document = _document(schema)
    before = deepcopy(document)
    converted = convert_to_3_0(document)
    assert document == before
    answer = converted["paths"]["/user"]["get"]["responses"]["200"]
    assert answer["content"]["application/json"]["schema"] == expected


def test_a_schema_of_several_types_is_rejected() -> None:
    with pytest.raises(ValueError, match="several types"):
        convert_to_3_0(_document({"type": ["string", "integer", "null"]}))


def test_what_3_0_generators_reject_is_left_out() -> None:
    converted = convert_to_3_0(_document(USER))
    assert converted["openapi"].startswith("3.0")
    assert "identifier" not in converted["info"]["license"]
    assert [*converted["paths"]] == ["/user"]
    assert converted["tags"] == [{"name": "users"}]
    operation = converted["paths"]["/user"]["get"]
    assert [*operation["requestBody"]["content"]] == ["application/json"]
    assert [each["name"] for each in operation["parameters"]] == ["last_event_id"]
    components = converted["components"]
    assert [*components["schemas"]] == ["User", "Type"]
    assert components["responses"] == components["headers"] == {}
