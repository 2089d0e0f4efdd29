"""The OpenAPI document itself: every error has an example, and every example matches its schema."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.openapi_document import PROBLEM, Document
from saldo.http import problems
from saldo.http.openapi.errors import NO_OPERATION

ELSEWHERE = set(NO_OPERATION)
"""Answers that belong to no operation, documented by the default response."""


@pytest.fixture
async def document(api: httpx.AsyncClient) -> Document:
    return Document((await api.get("/openapi.json")).json())


def _errors(document: Document) -> list[tuple[str, str, dict[str, Any]]]:
    """Return, for each error of each operation, the operation, the status and the media types."""
    return [
        (f"{method} {path}", status, document.resolve(answer)["content"])
        for method, path, operation in document.operations
        for status, answer in operation["responses"].items()
        if not status.startswith("2")
    ]


async def test_every_error_has_examples_that_match_its_schema(document: Document) -> None:
    errors = _errors(document)
    assert len(errors) > 30
    for where, status, content in errors:
        for media_type, described in content.items():
            assert described["examples"], (where, status)
            for name, example in described["examples"].items():
                value = example["value"]
                assert document.errors_of(described["schema"], value) == [], (where, name)
                if media_type == PROBLEM:
                    assert value["code"] == name.partition("-")[0], where
                    assert status in {str(value["status"]), "default"}, where


async def test_every_code_is_in_the_document(document: Document) -> None:
    codes: dict[bool, set[str]] = {True: set(), False: set()}
    for _, status, content in _errors(document):
        for example in content.get(PROBLEM, {}).get("examples", {}).values():
            codes[status == "default"].add(example["value"]["code"])
    assert codes[True] == ELSEWHERE
    assert codes[False] | ELSEWHERE == set(problems.CODES)
    listed = document.content["components"]["schemas"]["Problem"]["properties"]["code"]
    assert "enum" not in listed  # a generated client must accept a code that is added later
    assert set(listed["x-extensible-enum"]) == set(problems.CODES)


async def test_request_examples_match_their_schema(document: Document) -> None:
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for _, _, operation in document.operations
        if "requestBody" in operation
    ]
    assert bodies
    for described in bodies:
        for example in described["examples"].values():
            assert document.errors_of(described["schema"], example["value"]) == []


async def test_parameter_examples_match_their_schema(document: Document) -> None:
    parameters = [
        each for *_, operation in document.operations for each in operation.get("parameters", ())
    ]
    examples = [
        (each, example) for each in parameters for example in each.get("examples", {}).values()
    ]
    assert len(examples) > 10
    for each, example in examples:
        assert document.errors_of(each["schema"], example["value"]) == [], each["name"]


async def test_undocumented_answer_is_detected(api: httpx.AsyncClient, document: Document) -> None:
    """Check the checker: it must reject answers that differ from the document, as all other tests rely on it."""
    answer = await api.get("/v1/user/999999999999")
    request = answer.request
    for status, body in (
        (404, answer.json() | {"code": "uuid_conflict"}),
        (404, answer.json() | {"surprise": 1}),
        (404, {"code": "user_not_found"}),
        (418, answer.json()),
    ):
        changed = httpx.Response(
            status, json=body, headers={"content-type": PROBLEM}, request=request
        )
        with pytest.raises(AssertionError):
            document.check(changed)
    document.check(answer)


def _parts(part: Any, path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield every object of the document, except the values of examples, which are data."""
    if isinstance(part, list):
        for number, each in enumerate(part):
            yield from _parts(each, f"{path}/{number}")
    elif isinstance(part, dict):
        yield path, part
        for name, each in part.items():
            if name != "value":
                yield from _parts(each, f"{path}/{name}")


async def test_document_is_suitable_for_client_generators(document: Document) -> None:
    """Check for constructs that made client generators fail, or made clients read or send wrong numbers."""
    spoilt = []
    for path, part in _parts(document.content):
        if "value" in part and "id" in part:
            spoilt.append(f"{path}: an Example Object has no field `id`")
        types = part.get("type")
        if isinstance(types, str | list):
            if "integer" in types and part.get("format") != "int64":
                spoilt.append(f"{path}: an integer without a format has 32 bits")
            if "number" in types:
                spoilt.append(f"{path}: a number is a float, so an amount must be a string")
        if "pattern" in part and "type" not in part:
            spoilt.append(f"{path}: a pattern without a type")
        spoilt += [
            f"{path}: {keyword} with one alternative"
            for keyword in ("oneOf", "anyOf", "allOf")
            if len(part.get(keyword, ("", ""))) < 2
        ]
        if "oneOf" in part and {"type": "null"} not in part["oneOf"]:
            spoilt.append(f"{path}: a union needs a wrapper in Go, Java and Python")
        if isinstance(part.get("enum"), list) and not _is_component(path):
            spoilt.append(f"{path}: an enumeration without a name")
        if isinstance(part.get("properties"), dict) and not _is_component(path):
            spoilt.append(f"{path}: an object without a name")
    assert spoilt == []


def _is_component(path: str) -> bool:
    return path.startswith("/components/") and path.count("/") == 3


async def test_document_names_what_clients_use(document: Document) -> None:
    """Check that generated clients get names from the document, and not names made of paths and numbers."""
    ids = [operation["operationId"] for *_, operation in document.operations]
    assert len(set(ids)) == len(ids)
    for operation_id in ids:
        assert re.fullmatch(r"[a-z]+([A-Z][a-z]+)+", operation_id), operation_id
    declared = {tag["name"] for tag in document.content["tags"] if tag["description"]}
    names = {"ids": ids, "schemas": document.content["components"]["schemas"]}
    assert {"getBalance", "createTransaction"} <= set(names["ids"])
    assert {"TransactionRequest", "TransactionType", "Outcome"} <= set(names["schemas"])
    assert not set(document.content["components"]["securitySchemes"]) & {
        name.lower() for name in names["schemas"]
    }
    for method, path, operation in document.operations:
        where = f"{method} {path}"
        assert declared.issuperset(operation["tags"]), where
        assert operation["summary"] and operation["description"], where
        for content in operation.get("requestBody", {}).get("content", {}).values():
            schema = content["schema"].get("items", content["schema"])
            assert "$ref" in schema or schema["type"] == "string", where
        default = document.resolve(operation["responses"]["default"])
        assert default["content"][PROBLEM]["schema"] == {"$ref": "#/components/schemas/Problem"}
        for status, answer in operation["responses"].items():
            resolved = document.resolve(answer)
            assert "X-Request-Id" in resolved["headers"], (where, status)
            assert PROBLEM not in resolved["content"] or "$ref" in answer, (where, status)
            assert status != "429" or "Retry-After" in resolved["headers"]
    info = document.content["info"]
    assert info["license"]["identifier"] == "MIT"
    assert info["contact"]["name"]


EXACT_TEXTS = {"/components/schemas/ProvenEntry", "/components/schemas/Seal"}
"""Schemas whose times are texts of one exact form, because the texts are hashed."""


async def test_document_has_the_types_of_values(document: Document) -> None:
    """Check that ids, uuids and times have their types, in parameters, requests and answers alike."""
    wrong = []
    for path, part in _parts(document.content):
        named = part.get("properties", {})
        if "in" in part and "schema" in part:
            named = {part["name"]: part["schema"]}
        for name, schema in named.items():
            types = schema.get("type", "")
            plain = types if isinstance(types, str) else next(t for t in types if t != "null")
            expected = _expect_type(name, part.get("in", "") == "query")
            if path in EXACT_TEXTS and expected == ("string", "date-time"):
                continue
            if expected and plain and (plain, schema.get("format")) != expected:
                wrong.append(f"{path}: {name} is {plain} {schema.get('format')}")
    assert wrong == []


def _expect_type(name: str, is_query: bool) -> tuple[str, str] | None:
    """Return the type and format of all fields and parameters with this name."""
    if name.endswith("_at") or name in {"timestamp", "date", "before", "to", "failing_since"}:
        return "string", "date-time"
    if name in {"uuid", "event_id"}:
        return "string", "uuid"
    if name in {"id", "seq", "number", "shard", "limit", "after"}:
        return "integer", "int64"
    if name.endswith("_id") and name not in {"request_id", "last_event_id"}:
        # The stream takes several ids, separated by commas.
        return None if is_query and name == "user_id" else ("integer", "int64")
    return None


async def test_documentation_page_has_the_same_document(
    api: httpx.AsyncClient, document: Document
) -> None:
    await api.get(
        "/openapi-3.0.json"
    )  # its conversion must not change the document, which is built once
    assert (await api.get("/docs/openapi.json")).json() == document.content
    assert (await api.get("/openapi.json")).json() == document.content


async def test_every_operation_is_described(document: Document) -> None:
    without = [
        f"{method} {path}"
        for method, path, operation in document.operations
        if not operation.get("description")
    ]
    assert without == []


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        ("*/*", False),
        ("", False),
        ("application/json", False),
        ("application/json, application/x-ndjson", False),
        ("application/x-ndjson;q=0.1, application/json", False),
        ("text/html", False),
        (";;q=,", False),
        ("application/x-ndjson", True),
        ("application/x-ndjson, application/json;q=0.5", True),
    ],
)
async def test_array_is_answered_in_the_accepted_format(
    api: httpx.AsyncClient, accept: str, lines: bool
) -> None:
    """Send any `Accept`, or none, as generated clients do, which then parse JSON after the money is posted."""
    items = [{"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1.00", "user_id": 10**12}]
    answer = await api.post("/v1/transactions", json=items, headers={"accept": accept})
    expected = "application/x-ndjson" if lines else "application/json"
    assert answer.headers["content-type"] == expected
    found = json.loads(answer.text) if lines else answer.json()[0]
    assert (found["line"], found["code"]) == (1, "user_not_found")
