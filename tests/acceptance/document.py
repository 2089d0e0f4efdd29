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
        described = self._find_responses(response)
        media_type = response.headers["content-type"].partition(";")[0]
        if described is None:
            if media_type == PROBLEM:
                self._check_no_operation(response.json())
            return
        if str(response.status_code) not in described:
            # Answers that are sent before the operation is known are documented only once, among the components.
            assert media_type == PROBLEM, response.request.url
            code = response.json()["code"]
            assert code in BEFORE_ANY_OPERATION, response.request.url
            assert code in self.content["components"]["responses"]
            self._check_no_operation(response.json())
            return
        content = described[str(response.status_code)]["content"]
        assert media_type in content
        if media_type == "application/x-ndjson":
            lines = [json.loads(line) for line in response.text.splitlines()]
            assert self.errors_of(content["application/json"]["schema"], lines) == []
        elif media_type != "text/plain":
            body = response.json()
            assert self.errors_of(content[media_type]["schema"], body) == []
            if media_type == PROBLEM:
                assert body["code"] in content[media_type]["examples"]

    def _find_responses(self, response: httpx.Response) -> dict[str, Any] | None:
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
