"""Schemathesis reads the OpenAPI document and sends what it can think of to the whole application."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.python.asgi import get_client, shutdown_lifespans
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from saldo.server import Application
from tests.conftest import settings_for

EXAMPLES = 40
"""Of each operation, in each mode."""

ENDLESS = "/v1/events"
"""Its answer does not end: tests/acceptance/test_events.py."""

EXPECTED = {GenerationMode.POSITIVE: [200, 201, 404, 422], GenerationMode.NEGATIVE: [422]}
"""Statuses without which the requests were too dull to show much."""

CHECKS: list[Any] = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_schema_conformance,
]


@pytest.fixture(scope="module")
def document(database_url: str) -> Iterator[Any]:
    application = Application(settings_for(database_url), database_url)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await application(scope, receive, send)

    try:
        yield schemathesis.openapi.from_asgi("/openapi.json", app)
    finally:
        shutdown_lifespans()


class Existing:
    """A user and a transaction that exist: generated ids are nobody's."""

    def __init__(self, client: Any) -> None:
        user = client.post("/v1/user", json={"name": f"user {uuid4()}"}).json()
        self.user_id = user["id"]
        self.uuid = str(uuid4())
        deposit = {"uuid": self.uuid, "type": "DEPOSIT", "amount": "1", "user_id": self.user_id}
        assert client.post("/v1/transaction", json=deposit).status_code == 200

    def put_into(self, case: Any) -> None:
        for name, value in (("user_id", str(self.user_id)), ("uuid", self.uuid)):
            if name in (case.path_parameters or {}):
                case.path_parameters[name] = value
        if isinstance(case.body, dict) and "user_id" in case.body:
            case.body["user_id"] = self.user_id


@pytest.mark.parametrize("mode", list(GenerationMode))
def test_every_answer_is_as_documented(document: Any, mode: GenerationMode) -> None:
    """No fault of ours, and the status, the media type and the content that the document promises.

    Args:
        document: what the application says of itself.
        mode: requests as the document wants them, or such as it doesn't allow.
    """
    with get_client(document.app) as client:
        existing = Existing(client)
    statuses: Counter[int] = Counter()
    for found in document.get_all_operations():
        operation = found.ok()
        if operation.path == ENDLESS:
            continue
        if mode is GenerationMode.NEGATIVE and not (operation.body or operation.path_parameters):
            continue

        @settings(
            max_examples=EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode), exists=st.booleans())
        def ask(case: Any, exists: bool) -> None:
            if exists and mode is GenerationMode.POSITIVE:
                existing.put_into(case)
            response = case.call()
            statuses[response.status_code] += 1
            case.validate_response(response, checks=CHECKS)

        ask()
    assert statuses.total() > 100
    assert set(EXPECTED[mode]) <= set(statuses)
