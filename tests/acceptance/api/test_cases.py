"""Cases from public bug trackers of ledgers, wallets and brokers, run over HTTP as they were reported."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from decimal import Decimal
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from harness.program.settings import create_settings
from saldo.bootstrap.service import run_service
from saldo.ledger.model import SHARDS
from tests.acceptance.api.test_contract import JSON, balance, body, create_user

NDJSON = {"content-type": "application/x-ndjson"}


async def fetch_all(api: httpx.AsyncClient, path: str, **query: Any) -> list[dict[str, Any]]:
    """Return all items of a list, page by page."""
    items: list[dict[str, Any]] = []
    while True:
        answer = await api.get(path, params=query)
        assert answer.status_code == 200, answer.text
        page = answer.json()
        items += page["items"]
        if page["next_cursor"] is None:
            return items
        query["cursor"] = page["next_cursor"]


def fields_of(answer: httpx.Response) -> list[str]:
    assert answer.status_code == 422, answer.text
    return [error["field"] for error in answer.json()["errors"]]


INVALID_AMOUNTS = [
    *('"-5"', "-5", '"0"', '"0.00"', "-0", '"+5"', '" 5"', '"5 "', '"\u0665"', '"\uff15"', '"1_000"'),
    *('"0x10"', '""', "null", "true", "[1]", "{}", '"1e3"', "1e3", '"NaN"', '"5."', '".5"', '"1.005"'),
    *('"' + "1" * 41 + '"', "1" * 41, '"1,000"', '"1.000,00"', '"5\u00a0"', '"\u22125"', "5.0.0e"),
]  # fmt: skip


async def test_invalid_amount_is_rejected_with_its_field(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    uuid = str(uuid4())
    good = f'{{"uuid":"{uuid}","type":"DEPOSIT","user_id":{user_id},"amount":'
    for amount in INVALID_AMOUNTS[:-1]:
        answer = await api.post("/v1/transaction", content=f"{good}{amount}}}", headers=JSON)
        assert fields_of(answer) == ["amount"], amount
    for amount in ("Infinity", INVALID_AMOUNTS[-1]):
        answer = await api.post("/v1/transaction", content=f"{good}{amount}}}", headers=JSON)
        assert fields_of(answer) == ["body"], amount
    huge = await api.post("/v1/transaction", content=f'{good}"{"1" * 10**6}"}}', headers=JSON)
    assert huge.status_code == 413
    for _ in range(2):
        answer = await api.post("/v1/transaction", content=f'{good}"5"}}', headers=JSON)
        assert answer.status_code == 200
    items = await fetch_all(api, f"/v1/user/{user_id}/transactions")
    assert [item["amount"] for item in items] == ["5.00"]


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("amount", None, 'is null: it must be a decimal string such as "100.25"'),
        ("type", None, 'is null: it must be "DEPOSIT" or "WITHDRAW"'),
        ("amount", ..., 'is missing: it must be a decimal string such as "100.25"'),
        ("user_id", 10**30, f"must be from 1 to {2**63 - 1}"),
        ("user_id", str(2**63), f"must be from 1 to {2**63 - 1}"),
    ],
)
async def test_message_describes_the_fault(
    api: httpx.AsyncClient, field: str, value: Any, message: str
) -> None:
    item = body(1, "DEPOSIT", "1") | {field: value}
    content = {name: each for name, each in item.items() if each is not ...}
    answer = await api.post("/v1/transaction", json=content)
    assert answer.json()["errors"] == [{"field": field, "message": message}]


@pytest.mark.parametrize("path", ["user", "key", "webhook"])
async def test_null_and_missing_fields_have_different_messages(
    api: httpx.AsyncClient, path: str
) -> None:
    field = {"user": "name", "key": "scopes", "webhook": "url"}[path]
    other = {"name": "of a key"} if path == "key" else {}
    for content, begins in (({field: None}, "is null: it must"), ({}, "is missing: it must")):
        answer = await api.post(f"/v1/{path}", json=content | other)
        (error,) = answer.json()["errors"]
        assert (error["field"], error["message"][: len(begins)]) == (field, begins)


@pytest.mark.parametrize("wide", [2**63, 10**29])
async def test_id_beyond_bigint_is_not_found_and_repeated_unchanged(
    api: httpx.AsyncClient, wide: int
) -> None:
    for path, code in (
        (f"/v1/user/{wide}", "user_not_found"),
        (f"/v1/user/{wide}/balance", "user_not_found"),
        (f"/v1/user/{wide}/balance?date=2024-01-01", "user_not_found"),
        (f"/v1/user/{wide}/transactions", "user_not_found"),
        (f"/v1/key/{wide}", "key_not_found"),
        (f"/v1/webhook/{wide}", "webhook_not_found"),
        (f"/v1/webhook/{wide}/deliveries", "webhook_not_found"),
    ):
        answer = await api.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code), path
        assert str(wide) in answer.json()["detail"], path
    for method, path in (
        ("DELETE", f"/v1/key/{wide}"),
        ("POST", f"/v1/key/{wide}/rotate"),
        ("DELETE", f"/v1/webhook/{wide}"),
        ("POST", f"/v1/webhook/{wide}/deliveries/replay"),
    ):
        answer = await api.request(method, path)
        assert answer.status_code == 404 and str(wide) in answer.json()["detail"], path
    change = await api.patch(f"/v1/webhook/{wide}", json={"enabled": True})
    assert change.status_code == 404 and str(wide) in change.json()["detail"]
    uuid = (await api.get(f"/v1/transaction/{uuid4()}?user_id={wide}")).json()
    assert uuid["code"] == "transaction_not_found"
    for path in (f"/v1/user/{'9' * 31}", f"/v1/key/{'9' * 31}", f"/v1/webhook/{'9' * 31}"):
        (error,) = (await api.get(path)).json()["errors"]
        assert error["message"] == f"must be at most {2**63 - 1}"
    for path in ("/v1/transactions", "/v1/seals"):
        assert fields_of(await api.get(f"{path}?shard=1&after={wide}")) == ["after"]


async def test_the_balance_is_the_sum_of_what_was_posted(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    posted = Decimal(0)
    for kind, amount, status in (
        *[("DEPOSIT", each, 200) for each in ("0.1", "0.2", "19.99", "19.99", "19.99", "1.10")],
        *[("DEPOSIT", "100.10", 200), ("WITHDRAW", "14.28444999", 422), ("WITHDRAW", "0.005", 422)],
    ):
        content = json.dumps(body(user_id, kind, "x")).replace('"x"', amount)  # a JSON number
        answer = await api.post("/v1/transaction", content=content, headers=JSON)
        assert answer.status_code == status
        posted += Decimal(amount) if status == 200 else 0
        assert Decimal(await balance(api, user_id)) == posted
    items = await fetch_all(api, f"/v1/user/{user_id}/transactions")
    assert sum(Decimal(item["amount"]) for item in items) == posted == Decimal("161.47")


async def test_equivalent_spellings_are_the_same_request(api: httpx.AsyncClient) -> None:
    user_id, uuid = await create_user(api), str(uuid4())
    at = {"timestamp": "2026-01-10T12:00:00Z"}
    first = {"uuid": uuid, "type": "DEPOSIT", "amount": "10", "user_id": user_id} | at
    no_uuid = {name: value for name, value in first.items() if name != "uuid"}
    answer = await api.post("/v1/transaction", json=first)
    assert answer.status_code == 200
    retries: list[tuple[dict[str, Any], dict[str, str]]] = [
        *[(first | {"uuid": each}, {}) for each in (uuid.upper(), UUID(uuid).hex)],
        *[(first | {"amount": each}, {}) for each in ("10.00", 10, 10.0)],
        (first | {"user_id": str(user_id)}, {}),
        *[
            (first | {"timestamp": each}, {})
            for each in ("2026-01-10T13:00:00+01:00", "2026-01-10T12:00:00.000000Z", "2026-01-10 12:00:00Z")
        ],
        ({name: value for name, value in first.items() if name != "timestamp"}, {}),
        (dict(reversed(first.items())), {}),
        (no_uuid | {"uid": uuid}, {}),
        *[(no_uuid, {"idempotency-key": each}) for each in (uuid, f'"{uuid}"', uuid.upper())],
        (first, {"idempotency-key": str(uuid4())}),  # the body counts
    ]  # fmt: skip
    for content, headers in retries:
        again = await api.post("/v1/transaction", json=content, headers=headers)
        assert (again.status_code, again.content) == (200, answer.content), (content, headers)
        assert again.headers["idempotent-replayed"] == "true"
    for change, field in (
        ({"amount": "10.01"}, "amount"),
        ({"type": "WITHDRAW"}, "type"),
        ({"timestamp": "2026-01-10T12:00:00.000001Z"}, "timestamp"),
    ):
        other = await api.post("/v1/transaction", json=first | change)
        assert (other.status_code, other.json()["differing_fields"]) == (409, [field])
    assert await balance(api, user_id) == "10.00"


TWO_KEYS = "76cf86e1-06ad-45e4-8015-4dd6319ad2eb,27eff2e6-2cc9-494c-ad72-4d5ebb3c331c"


@pytest.mark.parametrize("value", ["", "a,b", "x", '"', '""', '"x"', TWO_KEYS])
async def test_invalid_idempotency_key_names_the_header(api: httpx.AsyncClient, value: str) -> None:
    content = {"type": "DEPOSIT", "amount": "1", "user_id": 1}
    answer = await api.post("/v1/transaction", json=content, headers={"idempotency-key": value})
    assert fields_of(answer) == ["Idempotency-Key"]
    assert "must be a uuid" in answer.json()["detail"]


async def test_an_idempotency_key_given_twice_records_nothing(api: httpx.AsyncClient) -> None:
    user_id, uuid = await create_user(api), str(uuid4())
    content = {"type": "DEPOSIT", "amount": "1", "user_id": user_id}
    for second in (uuid, str(uuid4())):
        headers = [("idempotency-key", uuid), ("idempotency-key", second)]
        answer = await api.post("/v1/transaction", json=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "wrong_header")
    assert await balance(api, user_id) == "0.00"
    sent = [
        api.post("/v1/transaction", json=content, headers={"idempotency-key": uuid})
        for _ in range(50)
    ]
    answers = await asyncio.gather(*sent)
    assert len({answer.content for answer in answers}) == 1
    assert await balance(api, user_id) == "1.00"


MISSPELT = [
    *[("/v1/user/{id}/transactions", query, field) for query, field in (
        ("typ=WITHDRAW", "typ"), ("type=withdraw", "type"), ("From=2026-01-01", "From"),
        ("limit=10&limit=20", "limit"), ("from=", "from"), ("known_at=tomorrow", "known_at"),
        *[(f"limit={each}", "limit") for each in ("0", "-1", "1001", "1e3", "١٠", "9" * 30)],
        *[(f"{name}={each}", name) for name in ("from", "to") for each in ("1899-12-31", "2201-01-01", "9999-12-31")],
        *[(f"from={begin}&to={end}", "to") for begin, end in (
            ("2026-01-31", "2026-01-31"), ("2026-02-01", "2026-01-31"),
            ("2026-01-31T00:00:00Z", "2026-01-31T01:00:00+01:00"),
        )],
    )],
    ("/v1/user/{id}/balance", "date=2026-01-01&before=2026-01-01", "before"),
    ("/v1/user", "Name=x", "Name"),
    ("/v1/transactions", "shard=64", "shard"),
]  # fmt: skip


async def test_invalid_filter_is_rejected(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)
    for path, query, field in MISSPELT:
        answer = await api.get(f"{path.format(id=user_id)}?{query}")
        assert fields_of(answer) == [field], query


async def test_list_without_dates_is_complete_and_ranges_are_half_open(
    api: httpx.AsyncClient,
) -> None:
    user_id = await create_user(api)
    for moment in ("1950-01-01", "2026-01-31T15:00:00Z"):
        item = body(user_id, "DEPOSIT", "1", timestamp=moment)
        assert (await api.post("/v1/transaction", json=item)).status_code == 200
    path = f"/v1/user/{user_id}/transactions"
    assert len(await fetch_all(api, path)) == 2
    for limit in (1, 1000):
        assert len(await fetch_all(api, path, limit=limit)) == 2
    assert await fetch_all(api, path, **{"from": "2026-01-01", "to": "2026-01-31"}) == []
    assert len(await fetch_all(api, path, **{"from": "2026-01-31", "to": "2026-02-01"})) == 1


async def test_pages_have_each_transaction_of_an_instant_once(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)

    async def post(amounts: range) -> None:
        items = [
            body(user_id, "DEPOSIT", f"{each / 100:.2f}", timestamp="2026-01-01")
            for each in amounts
        ]
        lines = "\n".join(map(json.dumps, items))
        answer = await api.post("/v1/transactions", content=lines, headers=NDJSON)
        assert answer.text.count('"posted"') == len(amounts)

    await post(range(1, 251))
    path, found, cursor, pages = f"/v1/user/{user_id}/transactions", [], None, 0
    while pages == 0 or cursor is not None:
        query = {"limit": "7"} | ({"cursor": cursor} if cursor else {})
        page = (await api.get(path, params=query)).json()
        found += [item["amount"] for item in page["items"]]
        cursor, pages = page["next_cursor"], pages + 1
        if pages == 3:
            await post(range(1001, 1021))
    assert found == [f"{each / 100:.2f}" for each in range(250, 0, -1)]
    log: list[int] = []
    after, more = 0, True
    while more:
        query = {"shard": str(user_id % SHARDS), "after": str(after), "limit": "1000"}
        if len(log) < 20:
            query["limit"] = (
                "1"  # a new user's opening entry is not a transaction: the page is empty
            )
        page = (await api.get("/v1/transactions", params=query)).json()
        log += [item["number"] for item in page["items"] if item["user_id"] == user_id]
        after, more = page["reached"], page["more"]
    assert log == list(range(1, 271))


async def test_a_page_that_is_empty_is_not_the_last(database_url: str) -> None:
    settings = create_settings(database_url, page_scan_entries_max=10, console_enabled=True)
    async with run_service(settings, database_url) as app:
        transport = httpx.ASGITransport(app=app)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as api:
            user_id = await create_user(api)
            kinds = ["DEPOSIT", "WITHDRAW", *["DEPOSIT"] * 35]
            items = [body(user_id, kind, "1") for kind in kinds]
            assert (await api.post("/v1/transactions", json=items)).text.count('"posted"') == 37
            path = f"/v1/user/{user_id}/transactions?type=WITHDRAW&limit=10"
            page = (await api.get(path)).json()
            assert page["items"] == [] and page["next_cursor"] is not None
            found = await fetch_all(
                api, f"/v1/user/{user_id}/transactions", type="WITHDRAW", limit="10"
            )
            assert [item["uuid"] for item in found] == [items[1]["uuid"]]
            shown = await api.get(f"/console/users/{user_id}?type=WITHDRAW")
            assert shown.status_code == 200
            assert items[1]["uuid"] in shown.text
            assert "there are older ones" not in shown.text
            description = (await api.get("/openapi.json")).json()["paths"]
            for described in ("/v1/user/{user_id}/transactions", "/v1/transactions"):
                assert "short or even empty" in description[described]["get"]["description"]


async def test_a_cursor_of_another_list_is_refused(api: httpx.AsyncClient) -> None:
    first, second = await create_user(api), await create_user(api)
    for user_id in (first, second):
        for _ in range(2):
            await api.post("/v1/transaction", json=body(user_id, "DEPOSIT", "1"))
    page = (await api.get(f"/v1/user/{first}/transactions?limit=1")).json()
    users = (await api.get("/v1/user?limit=1")).json()
    injected = "dHJhbnNhY3Rpb25zIDE6MSBPUiAxPTE"  # transactions 1:1 OR 1=1
    for path in (f"/v1/user/{second}/transactions", "/v1/user", "/v1/webhook", "/v1/key"):
        others = [page["next_cursor"], *([] if path == "/v1/user" else [users["next_cursor"]])]
        for cursor in (*others, "'", "%", "\\", "x" * 5000, injected, ""):
            answer = await api.get(path, params={"cursor": cursor})
            assert fields_of(answer) == ["cursor"], (path, cursor)
    unique = uuid4().hex
    for mark in ("%", "_", "\\", "'", "*"):
        name = f"{mark}{unique}"
        made = (await api.post("/v1/user", json={"name": name})).json()["id"]
        items = (await api.get("/v1/user", params={"name": name})).json()["items"]
        assert [item["id"] for item in items] == [made]
        assert (await api.get("/v1/user", params={"name": mark})).json()["items"] == []
        shown = await api.get("/console/users", params={"q": name})
        assert shown.headers["location"] == f"/console/users/{made}"


async def test_too_large_is_413_and_records_nothing(api: httpx.AsyncClient) -> None:
    user_id = await create_user(api)

    async def split_into_chunks(content: bytes) -> AsyncIterator[bytes]:
        for begin in range(0, len(content), 10_000):
            yield content[begin : begin + 10_000]

    def pad_item(item: dict[str, Any], size: int) -> bytes:
        text = json.dumps(item).encode()
        return text + b" " * (size - len(text))

    posted = 0
    for path in ("/v1/transaction", "/v1/user"):
        for size, good in ((65_536, True), (65_537, False)):
            for make in (bytes, split_into_chunks):
                item = body(user_id, "DEPOSIT", "1")
                item = item if path == "/v1/transaction" else {"name": f"large {uuid4()}"}
                content: Any = make(pad_item(item, size))
                answer = await api.post(path, content=content, headers=JSON)
                assert (answer.status_code < 300) is good
                if not good:
                    assert (answer.status_code, answer.json()["code"]) == (413, "body_too_large")
                posted += good and path == "/v1/transaction"
    item = body(user_id, "DEPOSIT", "1")
    array = b"[" + pad_item(item, 4_194_304 - 1) + b"]"
    answer = await api.post("/v1/transactions", content=array, headers=JSON)
    assert answer.status_code == 413
    lines = [pad_item(body(user_id, "DEPOSIT", "1"), size) for size in (200, 65_537, 65_536)]
    answer = await api.post("/v1/transactions", content=b"\n".join(lines), headers=NDJSON)
    statuses = [json.loads(line)["status"] for line in answer.text.splitlines()]
    assert statuses == [200, 413, 200]
    assert await balance(api, user_id) == f"{posted + 2}.00"


@pytest.mark.parametrize(
    ("begins", "message"),
    [(b"\xef\xbb\xbf", "BOM"), (b"\xff\xfe", "UTF-16"), (b"\xfe\xff", "UTF-16")],
)
async def test_a_byte_order_mark_is_named(
    api: httpx.AsyncClient, begins: bytes, message: str
) -> None:
    user_id = await create_user(api)
    lines = [json.dumps(body(user_id, "DEPOSIT", "1")).encode() for _ in range(2)]
    answer = await api.post("/v1/transactions", content=begins + b"\n".join(lines), headers=NDJSON)
    bad, good = map(json.loads, answer.text.splitlines())
    assert (bad["status"], good["status"]) == (422, 200)
    assert bad["errors"][0]["field"] == "body" and message in bad["errors"][0]["message"]
    alone = await api.post("/v1/transaction", content=begins + lines[0], headers=JSON)
    assert message in alone.json()["detail"]


async def test_no_answer_has_a_raw_line_separator(api: httpx.AsyncClient) -> None:
    url = "https://example.com/\u2028\u2029\N{LATIN SMALL LETTER E WITH ACUTE}"
    made = await api.post("/v1/webhook", json={"url": url})
    assert made.status_code == 201, made.text
    for answer in (
        made,
        await api.get(f"/v1/webhook/{made.json()['id']}"),
        await api.get("/v1/webhook"),
    ):
        assert len(answer.text.splitlines()) == 1
        assert "\\u2028\\u2029é" in answer.text
    assert made.json()["url"] == url
