"""Malformed forms and queries sent to the console: each is answered with a page, and without a server error."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import AsyncIterator

import pytest

from harness.postgresql.databases import Database
from tests.acceptance.access.test_access import ADMIN_KEY, Api, serve
from tests.acceptance.console.test_console import ORIGIN, Person, paths

MANY = "&".join(f"field{number}=x" for number in range(150))


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serve(own_ledger) as served:
        yield served


@pytest.fixture
async def person(api: Api) -> Person:
    found = Person(api)
    await found.sign_in(ADMIN_KEY)
    return found


@pytest.mark.parametrize(
    ("body", "status"),
    [(MANY.encode(), 422), (b"form=\xff", 403), (b"form=%ff", 422), (b"form=%00", 403)],
)
@pytest.mark.parametrize("signed_in", [False, True])
async def test_malformed_form_is_rejected(
    api: Api, person: Person, body: bytes, status: int, signed_in: bool
) -> None:
    who, path = (person, "/console/users/new") if signed_in else (Person(api), "/console/sign-in")
    await who.get("/console/sign-in")
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    answer = await who.client.post(path, content=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("q", ["%00", "a%00b", "%20%00", "1%00"])
async def test_search_with_a_nul_finds_nobody(person: Person, q: str) -> None:
    answer = await person.get(f"/console/users?q={q}")
    assert answer.status_code == 200
    assert "No user name starts with this text" in html.unescape(answer.text)


async def test_nul_and_lone_surrogates_never_reach_the_database(
    api: Api, person: Person, caplog: pytest.LogCaptureFixture
) -> None:
    user_id = await api.user()
    names = {
        *("q", "after", "date", "cursor", "from", "to", "type", "outcome", "uuid", "amount"),
        *("timestamp", "done", "replayed", "name", "users", "networks", "expires_at", "url", "key"),
    }
    with caplog.at_level(logging.ERROR):
        for method, path in sorted({*paths(user_id)}):
            for value in ("a%00b", "%ED%A0%80", "%00"):
                for name in sorted(names):
                    if method == "GET":
                        answer = await person.get(f"{path}?{name}={value}")
                        assert answer.status_code < 500, (path, name, value)
        for path, fields in (
            ("/console/users/new", ("name",)),
            ("/console/keys", ("name", "users", "networks", "expires_at")),
            ("/console/webhooks", ("url", "users")),
        ):
            for name in fields:
                others = {field: "x" for field in fields if field != name}
                answer = await person.send(path, {name: "a\0b", "read": "1"} | others)
                assert answer.status_code == 422, (path, name)
    assert caplog.records == []


@pytest.mark.parametrize(
    "path",
    [
        *("keys/9/rotate", "keys/1", "webhooks/1/switch", "sign-out", "transactions"),
        *("users/1%2f2", "users/1/2", "assets/none", "%ff", "live/x"),
    ],
)
async def test_unknown_path_is_answered_with_a_page(api: Api, person: Person, path: str) -> None:
    for who in (person, Person(api)):
        answer = await who.client.get(f"/console/{path}", follow_redirects=False)
        assert answer.status_code in {303, 404}
        if answer.status_code == 404:
            assert answer.headers["content-type"].startswith("text/html")
            assert "There is nothing at this address." in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_head_request_of_each_page_has_the_pages_headers(api: Api, person: Person) -> None:
    user_id, heads = await api.user(), 0
    for method, path in paths(user_id):
        if method == "GET":
            whole, head = await person.get(path), await person.client.head(path)
            assert (head.status_code, head.content) == (whole.status_code, b""), path
            assert head.headers["content-type"] == whole.headers["content-type"], path
            heads += 1
    assert heads > 10
    assert (await Person(api).client.head("/console/users")).status_code == 303


@pytest.mark.parametrize("query", ["type=X", "outcome=X", "type=deposit+", "outcome=Posted"])
async def test_invalid_filter_is_reported(api: Api, person: Person, query: str) -> None:
    answer = await person.get(f"/console/users/{await api.user()}?{query}")
    assert answer.status_code == 422


@pytest.mark.parametrize(
    ("language", "message"),
    [
        ("en", "End must be later than the start."),
        ("ru", "Конец периода: должен быть позже начала."),
    ],
)
async def test_empty_range_is_reported(
    api: Api, person: Person, language: str, message: str
) -> None:
    person.client.headers["accept-language"] = language
    for end in ("2026-01-31", "2026-01-30T23:59:59"):
        path = f"/console/users/{await api.user()}?from=2026-01-31&to={end}"
        answer = await person.get(path)
        assert answer.status_code == 422
        assert message in answer.text


async def test_search_forms_have_distinct_labels(person: Person) -> None:
    for language in ("en", "ru"):
        person.client.headers["accept-language"] = language
        text = (await person.get("/console/users")).text
        names = re.findall(r'role="search" aria-label="([^"]+)"', text)
        assert len(names) == text.count('role="search"') == len(set(names)) == 2


async def test_key_without_an_expiry_is_shown_as_unlimited(api: Api, person: Person) -> None:
    await api.key("read")
    person.client.headers["accept-language"] = "ru"
    text = (await person.get("/console/keys")).text
    assert "Бессрочно" in text and "Никогда" not in text


@pytest.mark.parametrize("path", ["/console", "/console/nothing", "/nothing", "/v1/transactions"])
async def test_invalid_host_header_is_rejected_everywhere(person: Person, path: str) -> None:
    answer = await person.client.get(path, headers={"host": "127.0.0.1: 5"})
    assert answer.status_code in {400, 401, 422}
