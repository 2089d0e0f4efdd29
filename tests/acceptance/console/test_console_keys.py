"""Keys and webhooks in the console: each is created once, and its secret is shown once."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from typing import Any

import psycopg
import pytest

from harness.postgresql.databases import Database
from tests.acceptance.access.test_access import ADMIN_KEY, Api, serve
from tests.acceptance.console.test_console import Person

SECRET = re.compile(r'id="secret">([^<]+)<')


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serve(own_ledger) as served:
        yield served


@pytest.fixture
async def person(api: Api) -> Person:
    found = Person(api)
    await found.sign_in(ADMIN_KEY)
    return found


async def _items(api: Api, path: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = (await api.admin.get(path)).json()["items"]
    return found


@pytest.mark.parametrize(
    ("page", "fields", "api_path", "begins"),
    [
        ("/console/keys", {"name": "shop", "read": "1"}, "/v1/key", "saldo_"),
        ("/console/webhooks", {"url": "https://example.com/x"}, "/v1/webhook", "whsec_"),
    ],
)
async def test_reload_creates_no_key_and_shows_no_secret(
    api: Api, person: Person, page: str, fields: dict[str, str], api_path: str, begins: str
) -> None:
    made = await person.send(page, fields)
    assert (made.status_code, made.headers["location"]) == (303, page)
    (cookie,) = (c for c in made.headers.get_list("set-cookie") if c.startswith("saldo_shown="))
    assert {"HttpOnly", "SameSite=strict", f"Path={page}"} <= set(cookie.split("; "))
    shown = SECRET.search((await person.get(page)).text)
    assert shown is not None and shown[1].startswith(begins)
    # The cookie, which proxies may log, doesn't contain the secret in a readable form.
    value = cookie.partition("=")[2].partition(";")[0]
    written = bytes.fromhex(value)
    assert shown[1] not in value and shown[1].encode() not in written
    assert shown[1].removeprefix(begins).encode() not in written
    assert SECRET.search((await person.get(page)).text) is None
    assert "saldo_shown" not in person.client.cookies
    assert len(await _items(api, api_path)) == 1


async def test_replaced_key_is_shown_once(api: Api, person: Person) -> None:
    old = await api.key("read")
    made = await person.send(f"/console/keys/{old['id']}/rotate", {}, page="/console/keys")
    assert (made.status_code, made.headers["location"]) == (303, "/console/keys")
    shown = SECRET.search((await person.get("/console/keys")).text)
    assert shown is not None
    answer = await api.client(shown[1]).get("/v1/user")
    assert answer.status_code == 200


@pytest.mark.parametrize("planted", ["x.5%20saldo_planted", "5", ".", "%ff.%00"])
async def test_no_other_visitor_is_shown_the_secret(person: Person, planted: str) -> None:
    person.client.cookies.set("saldo_shown", planted, path="/console/keys")
    answer = await person.get("/console/keys")
    assert answer.status_code == 200 and SECRET.search(answer.text) is None


async def test_overview_shows_failing_webhooks(
    api: Api, person: Person, own_ledger: Database
) -> None:
    assert 'id="webhooks-figures"' not in (await person.get("/console/overview")).text
    for number in range(2):
        await api.admin.post("/v1/webhook", json={"url": f"https://example.com/{number}"})
    with psycopg.connect(own_ledger.owner_role_url) as connection:
        connection.execute("UPDATE saldo.webhooks SET attempts_failed = 700 + id")
    # Figures are cached for two seconds; another process reads them now.
    async with serve(own_ledger) as fresh:
        other = Person(fresh)
        await other.sign_in(ADMIN_KEY)
        text = html.unescape((await other.get("/console/overview")).text)
    told = re.sub(r"<[^>]*>|\s+", " ", text.partition('id="webhooks-figures"')[2])
    assert re.search(r"Webhooks: 2 .*Failed attempts: 1,403 .*Pending: 0 .*Dead: 0", told)
