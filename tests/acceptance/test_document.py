"""The OpenAPI document itself: every error with an example, every example as its schema says."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from saldo.http import problems
from saldo.http.examples import NO_OPERATION
from tests.acceptance.document import PROBLEM, Document

ELSEWHERE = set(NO_OPERATION)
"""Answers to what is no operation: among the document's components."""


@pytest.fixture
async def document(api: httpx.AsyncClient) -> Document:
    return Document((await api.get("/openapi.json")).json())


def _errors(document: Document) -> list[tuple[str, str, dict[str, Any]]]:
    """Where, which status, and the media types of each error of each operation."""
    return [
        (f"{method} {path}", status, answer["content"])
        for method, path, operation in document.operations
        for status, answer in operation["responses"].items()
        if not status.startswith("2")
    ]


async def test_every_error_has_examples_that_are_as_its_schema_says(document: Document) -> None:
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


async def test_the_examples_of_requests_are_as_their_schema_says(document: Document) -> None:
    bodies = [
        operation["requestBody"]["content"]["application/json"]
        for _, _, operation in document.operations
        if "requestBody" in operation
    ]
    assert bodies
    for described in bodies:
        for example in described["examples"].values():
            assert document.errors_of(described["schema"], example["value"]) == []


async def test_an_answer_that_is_not_as_documented_is_noticed(
    api: httpx.AsyncClient, document: Document
) -> None:
    """The other tests hold every answer they get against the document: this holds the holding."""
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
