"""What is sent to the console and is no form or query of ours: answered with a page, and no fault."""

from __future__ import annotations

import html
import logging
import re
from collections.abc import AsyncIterator

import pytest

from tests.acceptance.test_access import ADMIN_KEY, Api, serving
from tests.acceptance.test_console import ORIGIN, Person, paths
from tests.databases import Database

MANY = "&".join(f"field{number}=x" for number in range(150))


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serving(own_ledger) as served:
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
async def test_what_is_no_form_is_refused(
    api: Api, person: Person, body: bytes, status: int, signed_in: bool
) -> None:
    who, path = (person, "/console/users/new") if signed_in else (Person(api), "/console/sign-in")
    await who.get("/console/sign-in")
    headers = {"origin": ORIGIN, "content-type": "application/x-www-form-urlencoded"}
    answer = await who.client.post(path, content=body, headers=headers)
    assert answer.status_code == status


@pytest.mark.parametrize("q", ["%00", "a%00b", "%20%00", "1%00"])
async def test_nobody_has_a_name_with_a_nul(person: Person, q: str) -> None:
    answer = await person.get(f"/console/users?q={q}")
    assert answer.status_code == 200
    assert "Nobody's name begins so" in html.unescape(answer.text)


async def test_no_field_takes_a_nul_or_half_a_character_to_the_database(
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
async def test_where_nothing_is_a_page_says_so(api: Api, person: Person, path: str) -> None:
    for who in (person, Person(api)):
        answer = await who.client.get(f"/console/{path}", follow_redirects=False)
        assert answer.status_code in {303, 404}
        if answer.status_code == 404:
            assert answer.headers["content-type"].startswith("text/html")
            assert "There is nothing under this address." in answer.text
            assert "default-src 'none'" in answer.headers["content-security-policy"]


async def test_the_head_of_each_page_is_answered_as_the_page(api: Api, person: Person) -> None:
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
async def test_a_filter_that_is_none_is_said_not_skipped(
    api: Api, person: Person, query: str
) -> None:
    answer = await person.get(f"/console/users/{await api.user()}?{query}")
    assert answer.status_code == 422


async def test_the_forms_that_search_have_names_of_their_own(person: Person) -> None:
    for language in ("en", "ru"):
        person.client.headers["accept-language"] = language
        text = (await person.get("/console/users")).text
        names = re.findall(r'role="search" aria-label="([^"]+)"', text)
        assert len(names) == text.count('role="search"') == len(set(names)) == 2


async def test_a_key_without_an_end_is_said_to_have_none(api: Api, person: Person) -> None:
    await api.key("read")
    person.client.headers["accept-language"] = "ru"
    text = (await person.get("/console/keys")).text
    assert "Бессрочно" in text and "Никогда" not in text


@pytest.mark.parametrize("path", ["/console", "/console/nothing", "/nothing", "/v1/transactions"])
async def test_a_host_that_is_none_is_refused_everywhere(person: Person, path: str) -> None:
    answer = await person.client.get(path, headers={"host": "127.0.0.1: 5"})
    assert answer.status_code in {400, 401, 422}
