"""The OpenAPI document itself: every error has an example, and every example matches its schema."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.openapi_document import PROBLEM, Document
from saldo.http import problems
from saldo.http.openapi.errors import NO_OPERATION

ELSEWHERE = set(NO_OPERATION)
"""Answers that belong to no operation, documented among the components."""


@pytest.fixture
async def document(api: httpx.AsyncClient) -> Document:
    return Document((await api.get("/openapi.json")).json())


def _errors(document: Document) -> list[tuple[str, str, dict[str, Any]]]:
    """Return, for each error of each operation, the operation, the status and the media types."""
    return [
        (f"{method} {path}", status, answer["content"])
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
                    assert (value["code"], value["status"]) == (name, int(status)), where


async def test_every_code_is_in_the_document(document: Document) -> None:
    codes = {
        name
        for _, _, content in _errors(document)
        for name in content.get(PROBLEM, {}).get("examples", ())
    }
    for code in ELSEWHERE:
        content = document.content["components"]["responses"][code]["content"][PROBLEM]
        value = content["examples"][code]["value"]
        assert document.errors_of(content["schema"], value) == []
        assert value["code"] == code
    assert codes | ELSEWHERE == set(problems._TITLES)


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
    assert spoilt == []


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
