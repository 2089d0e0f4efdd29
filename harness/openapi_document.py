"""Checks of answers against the OpenAPI document."""

from __future__ import annotations

import json
import re
from typing import Any
from urllib.parse import unquote

import httpx
from jsonschema import Draft202012Validator

from saldo.http.openapi.errors import NO_OPERATION

PROBLEM = "application/problem+json"

API_HEADERS = ("x-request-id", "retry-after", "www-authenticate", "idempotent-replayed")
"""Headers of answers that the document describes."""

BEFORE_ANY_OPERATION = set(NO_OPERATION) - {"not_found", "method_not_allowed"}


class Document:
    """The OpenAPI document of one application."""

    def __init__(self, content: dict[str, Any]) -> None:
        self.content = content
        self._validators: dict[str, Draft202012Validator] = {}
        self._paths = {
            re.compile(re.sub(r"\{\w+\}", "[^/]+", path)): path for path in content["paths"]
        }

    @property
    def operations(self) -> list[tuple[str, str, dict[str, Any]]]:
        """The method, path and description of each operation."""
        return [
            (method, path, operation)
            for path, operations in self.content["paths"].items()
            for method, operation in operations.items()
        ]

    def errors_of(self, schema: dict[str, Any], value: object) -> list[str]:
        """Return the errors of a value by a schema; empty if there are none."""
        key = str(schema)
        if key not in self._validators:
            whole = {**schema, "components": self.content["components"]}
            self._validators[key] = Draft202012Validator(whole)
        found = [error.message for error in self._validators[key].iter_errors(value)]
        properties = self._properties(schema)
        if properties and isinstance(value, dict):
            found += [f"{name} is not documented" for name in value if name not in properties]
        return found

    def check(self, response: httpx.Response) -> None:
        """Fail if an answer differs from the document's description of its operation."""
        described = self._documented_answers(response)
        media_type = response.headers["content-type"].partition(";")[0]
        if described is None:
            if media_type == PROBLEM:
                self._check_no_operation(response.json())
            return
        if str(response.status_code) not in described:
            # Answers that are sent before the operation is known are documented by the default response only.
            assert media_type == PROBLEM, response.request.url
            code = response.json()["code"]
            assert code in BEFORE_ANY_OPERATION, response.request.url
            default = self.resolve(described["default"])["content"][PROBLEM]
            assert code in default["examples"]
            self._check_no_operation(response.json())
            return
        answer = self.resolve(described[str(response.status_code)])
        self._check_headers(answer, response)
        content = answer["content"]
        assert media_type in content
        if media_type == "application/x-ndjson":
            lines = [json.loads(line) for line in response.text.splitlines()]
            assert self.errors_of(content["application/json"]["schema"], lines) == []
        elif media_type != "text/plain":
            body = response.json()
            assert self.errors_of(content[media_type]["schema"], body) == []
            if media_type == PROBLEM:
                examples = content[media_type]["examples"].values()
                assert body["code"] in {example["value"]["code"] for example in examples}

    def resolve(self, part: dict[str, Any]) -> dict[str, Any]:
        """Return the part of the document to which a reference points, or the part itself if it is not a reference."""
        if "$ref" not in part:
            return part
        found = self.content
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        return found

    def _check_headers(self, answer: dict[str, Any], response: httpx.Response) -> None:
        """Fail if an answer has a header of the API that its description doesn't have."""
        described = {name.lower() for name in answer.get("headers", {})}
        undescribed = {name for name in API_HEADERS if name in response.headers} - described
        assert not undescribed, (response.request.url, undescribed)

    def _documented_answers(self, response: httpx.Response) -> dict[str, Any] | None:
        """Return the documented answers of the requested operation, or None if the document has no such operation."""
        asked = unquote(response.request.url.path)
        for pattern, path in self._paths.items():
            operation = self.content["paths"][path].get(response.request.method.lower())
            if pattern.fullmatch(asked) and operation is not None:
                answers: dict[str, Any] = operation["responses"]
                return answers
        return None

    def _check_no_operation(self, body: dict[str, Any]) -> None:
        schema = {"$ref": "#/components/schemas/Problem"}
        assert self.errors_of(schema, body) == []

    def _properties(self, schema: dict[str, Any]) -> dict[str, Any]:
        reference = schema.get("$ref", "")
        if reference:
            schema = self.content["components"]["schemas"][reference.rpartition("/")[2]]
        properties: dict[str, Any] = schema.get("properties", {})
        return properties
