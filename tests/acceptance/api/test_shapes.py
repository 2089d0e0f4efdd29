"""Cost of bodies: parsing and answering cost at most a fixed multiple of the body's size, on every route."""

from __future__ import annotations

import contextlib
import tracemalloc
from collections.abc import Iterator
from datetime import UTC
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness import request_bodies
from harness.openapi_document import Document
from saldo.parsing import json_body
from saldo.parsing.faults import FAULTS_MAX, InvalidRequestError
from saldo.parsing.json_body import FIELDS_MAX, JsonError
from saldo.parsing.transactions import ParserOptions, parse_transactions
from saldo.settings.model import Settings

READING = ParserOptions(zone=UTC, decimals=2, amount_max_minor=100, name_length_max=200)
BODY_BYTES = Settings(_env_file=None).body_bytes_max  # type: ignore[call-arg]
ARRAY_BYTES = 200_000


def bodies(template: str) -> Iterator[tuple[str, str, bytes, str]]:
    """Yield the query, shape, body and media type of each request to a route."""
    for name, body in request_bodies.objects(BODY_BYTES - 1000):
        yield "", name, body, "application/json"
    if template != request_bodies.BULK_PATH:
        return
    for query in ("", "?atomic=true"):
        for name, body in request_bodies.arrays(ARRAY_BYTES):
            yield query, name, body, "application/json"
    for name, body in request_bodies.lines(6_000):
        yield "", name, body, request_bodies.LINES_TYPE


async def test_response_is_never_much_larger_than_the_request(api: httpx.AsyncClient) -> None:
    document = Document((await api.get("/openapi.json")).json())
    api.event_hooks = {}  # Large answers take long to validate; here only their size counts.
    templates = [
        (method, path)
        for method, path, operation in document.operations
        if "requestBody" in operation
    ]
    assert len(templates) >= 7
    for method, template in templates:
        path = template.format(user_id=1, webhook_id=1, key_id=10**9)
        for query, name, body, media_type in bodies(template):
            headers = {"content-type": media_type, "accept": "application/json"}
            answer = await api.request(method.upper(), path + query, content=body, headers=headers)
            lines = media_type == request_bodies.LINES_TYPE
            where = (method, path + query, name, len(body), len(answer.content))
            assert answer.status_code in ({200} if lines else {200, 404, 413, 422}), where
            assert len(answer.content) <= request_bodies.answer_bytes_max(
                path, len(body), lines=lines
            ), where
            if answer.status_code == 422:
                problem = answer.json()
                assert 1 <= len(problem["errors"]) <= FAULTS_MAX, where
                assert len(problem["detail"]) <= 1000, where


async def test_faults_beyond_the_limit_are_only_counted(api: httpx.AsyncClient) -> None:
    body = {f"x{number}": 1 for number in range(30)}
    problem = (await api.post("/v1/transaction", json=body)).json()
    assert [error["field"] for error in problem["errors"]] == [f"x{n}" for n in range(FAULTS_MAX)]
    assert problem["detail"].count(";") == 6
    assert problem["detail"].endswith("; and 31 more")
    body["last"] = body["but one"] = body["but two"] = 1
    problem = (await api.post("/v1/transaction", json=body)).json()
    assert problem["errors"] == [
        {"field": "body", "message": f"has an object with 33 fields; the maximum is {FIELDS_MAX}"}
    ]


async def test_only_the_first_of_many_bad_items_are_explained(api: httpx.AsyncClient) -> None:
    uuid = str(uuid4())
    items: list[dict[str, Any]] = [{}] * 4998 + [{"uuid": uuid}, {}]
    answer = await api.post("/v1/transactions", json=items, headers={"accept": "application/json"})
    lines = answer.json()
    assert [line["line"] for line in lines] == list(range(1, 5001))
    assert {line["code"] for line in lines} == {"invalid"}
    explained = ["errors" in line for line in lines]
    assert explained == sorted(explained, reverse=True)
    assert 0 < sum(explained) < 5000
    assert lines[4998] == {
        "line": 4999,
        "status": 422,
        "code": "invalid",
        "uuid": uuid,
        "detail": "The item is invalid. The reasons are given for the first invalid items of an array only.",
    }


class _Counted(str):
    """A name that counts how often it is compared."""

    __slots__ = ()
    compared = 0
    __hash__ = str.__hash__

    def __eq__(self, other: object) -> bool:
        type(self).compared += 1
        return str.__eq__(self, other)


def test_duplicate_field_check_takes_linear_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(json_body, "FIELDS_MAX", 10**6)
    names = [_Counted(f"{number:x}") for number in range(3000)]
    with pytest.raises(JsonError) as caught:
        json_body._build_object([(name, 0) for name in [*names, _Counted(names[-1])]])
    assert caught.value.field == names[-1]
    assert _Counted.compared < 10 * len(names)


def test_parsing_takes_a_fixed_multiple_of_memory() -> None:
    made = list(request_bodies.arrays(1_000_000))
    tracemalloc.start()
    try:
        for name, body in made:
            tracemalloc.reset_peak()
            with contextlib.suppress(InvalidRequestError):
                parse_transactions(body, 500, READING)
            peak = tracemalloc.get_traced_memory()[1]
            assert peak < 20 * 10**6, (name, peak)
    finally:
        tracemalloc.stop()
