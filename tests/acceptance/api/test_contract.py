"""The HTTP contract, on a real database."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import pytest

from harness.program.settings import create_settings
from saldo.auth.authenticator import Authentication
from saldo.auth.grants import UNAUTHENTICATED_ADMIN
from saldo.bootstrap.service import run_service
from saldo.http.litestar_app import create_framework
from saldo.http.request_state import get_request_state

JSON = {"content-type": "application/json"}


async def create_user(api: httpx.AsyncClient) -> int:
    answer = await api.post("/v1/user", json={"name": f"user {uuid4()}"})
    assert answer.status_code == 201
    return int(answer.json()["id"])


def body(user_id: int, kind: str, amount: str, **fields: Any) -> dict[str, Any]:
    return {"uuid": str(uuid4()), "type": kind, "amount": amount, "user_id": user_id, **fields}


async def balance(api: httpx.AsyncClient, user_id: int, **query: str) -> str:
    answer = await api.get(f"/v1/user/{user_id}/balance", params=query)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["balance"])


async def test_requests_of_the_task_from_beginning_to_end(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    assert await balance(api, user_id) == "0.00"
    deposit = body(user_id, "DEPOSIT", "100.0", timestamp="2023-01-04T00:00:00")
    deposit["uid"] = deposit.pop("uuid")
    assert (await api.post("/v1/transaction", json=deposit)).status_code == 200
    read = (await api.get(f"/v1/transaction/{deposit['uid']}")).json()
    assert (read["type"], read["amount"], read["outcome"]) == ("DEPOSIT", "100.00", "posted")

    withdrawal = body(user_id, "WITHDRAW", "50.0", timestamp="2023-01-05T00:00:00")
    first = await api.post("/v1/transaction", json=withdrawal)
    again = await api.post("/v1/transaction", json=withdrawal)
    assert (first.status_code, again.status_code) == (200, 200)
    assert first.content == again.content
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"

    now = datetime.now(UTC).replace(tzinfo=None).isoformat()
    refused = await api.post(
        "/v1/transaction", json=body(user_id, "WITHDRAW", "60.0", timestamp=now)
    )
    assert (refused.status_code, refused.json()["code"]) == (402, "insufficient_funds")
    assert (refused.json()["balance"], refused.json()["needed"]) == ("50.00", "60.00")

    late = body(user_id, "WITHDRAW", "10.0", timestamp="2023-02-05T00:00:00")
    assert (await api.post("/v1/transaction", json=late)).json()["balance"] == "40.00"
    assert await balance(api, user_id, date="2023-01-30T00:00:00.00000000") == "50.00"
    assert await balance(api, user_id, date="2023-02-05T00:00:00Z") == "40.00"
    assert await balance(api, user_id, before="2023-02-05T00:00:00Z") == "50.00"


async def test_500_identical_withdrawals_post_once_and_get_equal_responses(
    api: httpx.AsyncClient,
) -> None:
    user_id = await create_user(api)
    await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "100"))
    withdrawal = body(user_id, "WITHDRAW", "30")
    answers = await asyncio.gather(
        *(api.post("/v1/transaction", json=withdrawal) for _ in range(500))
    )
    assert {answer.status_code for answer in answers} == {200}
    assert len({answer.content for answer in answers}) == 1
    assert await balance(api, user_id) == "70.00"


async def test_200_withdrawals_of_1_from_100_post_exactly_100(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "100"))
    answers = await asyncio.gather(
        *(api.post("/v1/transaction", json=body(user_id, "WITHDRAW", "1.00")) for _ in range(200))
    )
    assert Counter(answer.status_code for answer in answers) == {200: 100, 402: 100}
    assert await balance(api, user_id) == "0.00"


async def test_a_refusal_is_final(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    withdrawal = body(user_id, "WITHDRAW", "5")
    refused = await api.post("/v1/transaction", json=withdrawal)
    await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "100"))
    again = await api.post("/v1/transaction", json=withdrawal)
    assert (refused.status_code, again.status_code) == (402, 402)
    assert refused.content == again.content
    recorded = await api.get(f"/v1/transaction/{withdrawal['uuid']}")
    assert (recorded.status_code, recorded.json()["outcome"]) == (200, "insufficient_funds")


async def test_transaction_is_found_only_for_its_user(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    deposit = body(user_id, "DEPOSIT", "5")
    await api.post("/v1/transaction", json=deposit)
    path = f"/v1/transaction/{deposit['uuid']}"
    found = await api.get(path, params={"user_id": user_id})
    assert (found.status_code, found.json()) == (200, (await api.get(path)).json())
    assert (await api.get(path, params={"user_id": user_id + 64})).status_code == 404
    wrong = await api.get(path, params={"user_id": "x"})
    assert (wrong.status_code, wrong.json()["errors"][0]["field"]) == (422, "user_id")


async def test_uuid_with_other_content_is_a_conflict_that_names_the_fields(
    api: httpx.AsyncClient,
) -> None:
    user_id = await create_user(api)
    original = body(user_id, "DEPOSIT", "10", timestamp="2024-01-01T00:00:00Z")
    await api.post("/v1/transaction", json=original)
    changes = {"type": "WITHDRAW", "amount": "11", "timestamp": "2024-01-02"}
    for field, value in changes.items():
        answer = await api.post("/v1/transaction", json=original | {field: value})
        assert (answer.status_code, answer.json()["differing_fields"]) == (409, [field])
    without = {name: value for name, value in original.items() if name != "timestamp"}
    assert (await api.post("/v1/transaction", json=without)).status_code == 200
    assert await balance(api, user_id) == "10.00"


async def test_another_user_under_a_uuid_is_a_conflict(
    api: httpx.AsyncClient, one_machine: None
) -> None:
    user_id, other = await create_user(api), await create_user(api)
    original = body(user_id, "DEPOSIT", "10", timestamp="2024-01-01T00:00:00Z")
    await api.post("/v1/transaction", json=original)
    answer = await api.post("/v1/transaction", json=original | {"user_id": other})
    assert (answer.status_code, answer.json()["differing_fields"]) == (409, ["user_id"])
    assert await balance(api, user_id) == "10.00"
    assert await balance(api, other) == "0.00"


async def test_a_late_withdrawal_never_makes_any_moment_negative(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    for kind, amount, day in (
        ("DEPOSIT", "100", "10"),
        ("WITHDRAW", "80", "20"),
        ("DEPOSIT", "80", "30"),
    ):
        answer = await api.post(
            "/v1/transaction", json=body(user_id, kind, amount, timestamp=f"2024-01-{day}")
        )
        assert answer.status_code == 200
    for day, status in (("05", 402), ("15", 402), ("30", 200)):
        late = body(user_id, "WITHDRAW", "50", timestamp=f"2024-01-{day}")
        assert (await api.post("/v1/transaction", json=late)).status_code == status
    assert await balance(api, user_id, date="2024-01-20") == "20.00"
    assert await balance(api, user_id) == "50.00"


async def test_known_at_balance_does_not_change(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "10", timestamp="2024-01-01"))
    last = (await api.get(f"/v1/user/{user_id}/transactions")).json()["items"][0]
    known = {"date": "2024-06-01", "known_at": last["recorded_at"]}
    assert await balance(api, user_id, **known) == "10.00"
    await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "5", timestamp="2024-01-02"))
    assert await balance(api, user_id, date="2024-06-01") == "15.00"
    assert await balance(api, user_id, **known) == "10.00"
    listed = f"/v1/user/{user_id}/transactions"
    at = {"known_at": last["recorded_at"]}
    assert (await api.get(listed, params=at)).json()["items"] == [last]
    nothing = await api.get(listed, params={"known_at": "2024-01-01T00:00:00Z"})
    assert nothing.json() == {"items": [], "next_cursor": None}
    soon = (datetime.now(UTC) + timedelta(seconds=30)).isoformat()
    for path in (f"/v1/user/{user_id}/balance", listed):
        answer = await api.get(path, params={"known_at": soon})
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "known_at")
    unknown = await api.get("/v1/user/999999999/transactions", params=at)
    assert unknown.status_code == 404


async def test_pages_stay_right_while_writes_go_on(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    for _ in range(7):
        await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "1"))
    numbers: list[int] = []
    query: dict[str, str] = {"limit": "3"}
    while True:
        page = (await api.get(f"/v1/user/{user_id}/transactions", params=query)).json()
        numbers += [item["number"] for item in page["items"]]
        await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "1"))
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert numbers == [7, 6, 5, 4, 3, 2, 1]


async def test_the_list_is_filtered_by_effective_time_half_open_and_by_type(
    api: httpx.AsyncClient,
) -> None:
    user_id = await create_user(api)
    for day in ("01", "02", "03", "02"):  # the last one is late
        await api.post(
            "/v1/transaction", json=body(user_id, "DEPOSIT", "1", timestamp=f"2024-01-{day}")
        )
    await api.post("/v1/transaction", json=body(user_id, "WITHDRAW", "1", timestamp="2024-01-03"))

    async def numbers(**query: str) -> list[int]:
        answer = await api.get(f"/v1/user/{user_id}/transactions", params=query)
        return [item["number"] for item in answer.json()["items"]]

    assert await numbers(**{"from": "2024-01-02", "to": "2024-01-03"}) == [4, 2]
    assert await numbers(**{"from": "2024-01-03"}) == [5, 3]
    assert await numbers(type="WITHDRAW") == [5]


async def test_users_have_unicode_names_that_are_trimmed_and_unique(api: httpx.AsyncClient) -> None:
    name = f"счёт-4711 🙂 {uuid4()}"
    created = await api.post("/v1/user", json={"name": f"  {name} "})
    assert created.json()["name"] == name
    taken = await api.post("/v1/user", json={"name": name})
    assert (taken.status_code, taken.json()["user_id"]) == (409, created.json()["id"])
    found = (await api.get("/v1/user", params={"name": name})).json()
    assert [user["id"] for user in found["items"]] == [created.json()["id"]]


GOOD = {
    "uuid": "ea3015b1-c25c-47e5-beb7-2679ac7c89a7",
    "type": "DEPOSIT",
    "amount": "1",
    "user_id": 1,
}

MALFORMED = [
    *[(json.dumps({k: v for k, v in GOOD.items() if k != field}), field) for field in GOOD],
    *[(json.dumps(GOOD | {field: None}), field) for field in GOOD],
    *[(json.dumps(GOOD | {field: [1]}), field) for field in (*GOOD, "timestamp")],
    *[(json.dumps(GOOD | {field: {"a": 1}}), field) for field in (*GOOD, "timestamp")],
    *[(json.dumps(GOOD | {field: True}), field) for field in (*GOOD, "timestamp")],
    *[(json.dumps(GOOD | {field: "x" * 10_000}), field) for field in (*GOOD, "timestamp")],
    *[(json.dumps(GOOD | {field: "\ud800"}), field) for field in (*GOOD, "timestamp")],
    *[(json.dumps(GOOD | {field: ""}), field) for field in (*GOOD, "timestamp")],
    (json.dumps(GOOD | {"uuid": "$(uuidgen)"}), "uuid"),
    (json.dumps(GOOD | {"uuid": "00000000-0000-0000-0000-000000000000"}), "uuid"),
    (json.dumps(GOOD | {"uid": "11111111-1111-4111-8111-111111111111"}), "uuid"),
    (json.dumps(GOOD | {"type": "deposit"}), "type"),
    (json.dumps(GOOD | {"amount": 1.005}), "amount"),
    (json.dumps(GOOD | {"amount": -1}), "amount"),
    (json.dumps(GOOD | {"amount": 0}), "amount"),
    ('{"amount": 1e3, "type": "DEPOSIT"}', "amount"),
    ('{"amount": NaN}', "body"),
    ('{"amount": 1' + "0" * 5000 + "}", "amount"),
    (json.dumps(GOOD | {"user_id": 2**63}), "user_id"),
    (json.dumps(GOOD | {"user_id": 0}), "user_id"),
    (json.dumps(GOOD | {"user_id": "1.0"}), "user_id"),
    (json.dumps(GOOD | {"user_id": 1.0}), "user_id"),
    (json.dumps(GOOD | {"timestamp": "0001-01-01T00:00:00Z"}), "timestamp"),
    (json.dumps(GOOD | {"timestamp": 1700000000}), "timestamp"),
    ('{"amount": "1", "amount": "2"}', "amount"),
    ("[" * 20_000, "body"),
    ('{"a":' * 5000 + "1" + "}" * 5000, "body"),
    ("", "body"),
    ("null", "body"),
    ("[]", "body"),
    ('"text"', "body"),
    ("{", "body"),
    ("{'uuid': 1}", "body"),
]


@pytest.fixture
async def typed_api(database_url: str) -> Any:
    """Yield the framework's own route for the same path, without the raw ASGI route in front of it."""
    async with run_service(create_settings(database_url), database_url) as front:
        framework = create_framework(front.service)

        async def admit(scope: Any, receive: Any, send: Any) -> None:
            get_request_state(scope).admission = Authentication(
                front.service.authenticator, scope, {}, UNAUTHENTICATED_ADMIN
            )
            await framework(scope, receive, send)

        transport = httpx.ASGITransport(app=admit)
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            yield client


async def test_malformed_input_names_the_field_on_both_routes(
    api: httpx.AsyncClient, typed_api: httpx.AsyncClient
) -> None:
    for content, field in MALFORMED:
        raw = await api.post("/v1/transaction", content=content, headers=JSON)
        typed = await typed_api.post("/v1/transaction", content=content, headers=JSON)
        assert raw.status_code == 422, content[:200]
        assert raw.headers["content-type"] == "application/problem+json"
        assert field in [error["field"] for error in raw.json()["errors"]], content[:200]
        assert typed.status_code == 422
        assert typed.json()["errors"] == raw.json()["errors"]


async def test_both_routes_accept_the_same(
    api: httpx.AsyncClient, typed_api: httpx.AsyncClient
) -> None:
    user_id = await create_user(api)
    for amount in ("1", "1.5", 1, 1.25):
        for user in (user_id, str(user_id)):
            for moment in ("2024-01-01", "2024-01-01T00-00-00", None):
                content = json.dumps(
                    body(user_id, "DEPOSIT", "1", timestamp=moment)
                    | {"amount": amount, "user_id": user}
                )
                raw = await api.post("/v1/transaction", content=content, headers=JSON)
                typed = await typed_api.post("/v1/transaction", content=content, headers=JSON)
                assert (raw.status_code, typed.status_code) == (200, 200)
                assert raw.content == typed.content
                assert typed.headers["idempotent-replayed"] == "true"


async def test_both_routes_of_a_read_answer_the_same(
    api: httpx.AsyncClient, typed_api: httpx.AsyncClient
) -> None:
    user_id = await create_user(api)
    asked = body(user_id, "DEPOSIT", "1")
    await api.post("/v1/transaction", json=asked)
    for path, status in (
        (f"/v1/user/{user_id}/balance", 200),
        ("/v1/user/999999999999/balance", 404),
        ("/v1/user/x/balance", 422),
        (f"/v1/transaction/{asked['uuid']}", 200),
        ("/v1/transaction/64cd6e73-1dd6-43e5-8632-8aaa1dd3404d", 404),
        ("/v1/transaction/x", 422),
    ):
        raw, typed = await api.get(path), await typed_api.get(path)
        assert (raw.status_code, typed.status_code) == (status, status)
        assert raw.headers["content-type"] == typed.headers["content-type"]
        without_id = [answer.json() | {"request_id": None} for answer in (raw, typed)]
        assert without_id[0] == without_id[1]


@pytest.mark.parametrize("path", ["/v1/transaction", "/v1/user"])
async def test_body_that_is_not_json_is_rejected(api: httpx.AsyncClient, path: str) -> None:
    answers = [
        await api.post(path, content=b'{"name": "\xff"}', headers=JSON),
        await api.post(path, content=b"{}", headers={"content-type": "text/plain"}),
        await api.post(path, content=b" " * 70_000, headers=JSON),
    ]
    assert [answer.status_code for answer in answers] == [422, 415, 413]
    for answer in answers:
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["errors"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/v1/transaction", 405, "method_not_allowed"),
        ("DELETE", "/v1/user/1", 405, "method_not_allowed"),
        ("GET", "/nope", 404, "not_found"),
        ("GET", "/v1/user/abc", 422, "invalid"),
        ("GET", "/v1/user/999999999999", 404, "user_not_found"),
        ("GET", "/v1/user/9999999999999999999999/balance", 404, "user_not_found"),
        ("GET", "/v1/user/999999999999/transactions", 404, "user_not_found"),
        ("GET", "/v1/transaction/nope", 422, "invalid"),
        (
            "GET",
            "/v1/transaction/64cd6e73-1dd6-43e5-8632-8aaa1dd3404d",
            404,
            "transaction_not_found",
        ),
        ("GET", "/v1/user?limit=0", 422, "invalid"),
        ("GET", "/v1/user?limit=x", 422, "invalid"),
        ("GET", "/v1/user?cursor=x", 422, "invalid"),
        ("GET", "/v1/user/1/balance?date=x", 422, "invalid"),
        ("GET", "/v1/user/1/transactions?type=x", 422, "invalid"),
    ],
)
async def test_every_error_is_a_problem(
    api: httpx.AsyncClient, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


@pytest.mark.parametrize("given", ["", "a b", "a\tb", '"x"', "é", "a" * 65])
async def test_unsafe_request_id_is_replaced(api: httpx.AsyncClient, given: str) -> None:
    answer = await api.get("/v1/user/0", headers=[(b"X-Request-Id", given.encode())])
    assert answer.headers["x-request-id"] not in ("", given)
    assert answer.json()["request_id"] == answer.headers["x-request-id"]


async def test_safe_request_id_is_kept(api: httpx.AsyncClient) -> None:
    given = "a.B_1-" + "x" * 58
    answer = await api.get("/v1/user/0", headers={"X-Request-Id": given})
    assert answer.headers["x-request-id"] == answer.json()["request_id"] == given


async def test_options_lists_the_methods_of_a_path(api: httpx.AsyncClient) -> None:
    """Check that OPTIONS returns all methods that the document has for the path, however many handlers serve them."""
    paths = (await api.get("/openapi.json")).json()["paths"]
    for path, operations in paths.items():
        answer = await api.options(path.format(user_id=1, uuid=uuid4(), webhook_id=1, key_id=1))
        assert answer.status_code == 204
        expected = {method.upper() for method in operations}
        expected |= {"OPTIONS"} | ({"HEAD"} if "GET" in expected else set())
        assert set(answer.headers["allow"].split(", ")) == expected


async def test_a_plus_sign_of_a_query_may_arrive_as_a_space(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    for date in ("2024-01-01T03:00:00+03:00", "2024-01-01t03:00:00+03:00"):
        answer = await api.get(f"/v1/user/{user_id}/balance?date={date}")
        assert answer.json()["date"] == "2024-01-01T00:00:00+00:00"


async def test_invalid_names_are_rejected(api: httpx.AsyncClient) -> None:
    for name in ("", "   ", "x" * 201, "a\u0000b", "a\nb", "a\n", "\ud800", 5, None, ["a"]):
        content = json.dumps({"name": name})
        answer = await api.post("/v1/user", content=content, headers=JSON)
        assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "name")


async def test_timestamp_beyond_the_future_tolerance_is_refused(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    soon = body(
        user_id, "DEPOSIT", "1", timestamp=(datetime.now(UTC) + timedelta(minutes=2)).isoformat()
    )
    later = body(
        user_id, "DEPOSIT", "1", timestamp=(datetime.now(UTC) + timedelta(hours=2)).isoformat()
    )
    assert (await api.post("/v1/transaction", json=soon)).status_code == 200
    answer = await api.post("/v1/transaction", json=later)
    assert (answer.status_code, answer.json()["code"]) == (422, "timestamp_in_future")
    assert "SALDO_TIMEZONE" in answer.json()["detail"]


async def test_the_idempotency_key_stands_in_for_the_uuid(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    content = {
        name: value for name, value in body(user_id, "DEPOSIT", "1").items() if name != "uuid"
    }
    headers = {"idempotency-key": str(uuid4())}
    first = await api.post("/v1/transaction", json=content, headers=headers)
    again = await api.post("/v1/transaction", json=content, headers=headers)
    assert (first.json()["uuid"], again.content) == (headers["idempotency-key"], first.content)


async def test_operation_and_documentation_pages(api: httpx.AsyncClient) -> None:
    for path in (
        "/healthz/live",
        "/healthz/ready",
        "/healthz/startup",
        "/metrics",
        "/docs",
        "/openapi.json",
    ):
        assert (await api.get(path)).status_code == 200, path
    page = (await api.get("/docs")).text
    assert "cdn" not in page
    assert (await api.get("/docs/assets/swagger-ui-bundle.js")).status_code == 200
    document = (await api.get("/openapi.json")).json()
    assert document["openapi"].startswith("3.1")
    assert set(document["paths"]) >= {"/v1/user", "/v1/transaction", "/v1/user/{user_id}/balance"}
    for operations in document["paths"].values():
        for operation in operations.values():
            assert operation["summary"]
    assert "saldo_transactions_total" in (await api.get("/metrics")).text
