"""The console without a browser: authentication, forms, permissions; and charts compared with the API."""

from __future__ import annotations

import asyncio
import html
import random
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.console.middleware import UNAUTHENTICATED_PATHS
from saldo.console.routes import HANDLERS
from tests.acceptance.access.test_access import ADMIN_KEY, Api, deposit, serve

ORIGIN = "http://localhost"
TOKEN = re.compile(r'name="form" value="([0-9a-f]{64})"')


class Person:
    """One browser, which keeps cookies and sends forms."""

    def __init__(self, api: Api, address: str = "127.0.0.1") -> None:
        transport = httpx.ASGITransport(app=api.front, client=(address, 1))  # type: ignore[arg-type]
        self.client = httpx.AsyncClient(transport=transport, base_url=ORIGIN)

    async def get(self, path: str) -> httpx.Response:
        return await self.client.get(path)

    async def send(
        self, path: str, fields: dict[str, str], page: str | None = None
    ) -> httpx.Response:
        """Open the page with the form and submit the form."""
        found = TOKEN.search((await self.client.get(page or path)).text)
        assert found is not None, page or path
        data = {"form": found[1], **fields}
        return await self.client.post(path, data=data, headers={"origin": ORIGIN})

    async def sign_in(self, key: str) -> httpx.Response:
        return await self.send("/console/sign-in", {"key": key})


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serve(own_ledger) as served:
        yield served


async def signed_in(api: Api, *scopes: str, **limits: Any) -> tuple[Person, dict[str, Any]]:
    key = await api.key(*scopes, **limits)
    person = Person(api)
    assert (await person.sign_in(key["key"])).status_code == 303
    return person, key


def paths(user_id: int) -> list[tuple[str, str]]:
    """Return the method and path of every route of the console."""
    values = {"user_id": user_id, "uuid": uuid4(), "key_id": 1, "webhook_id": 1, "rest": "x"}
    found: list[tuple[str, str]] = []
    for handler in HANDLERS:
        for template in handler.paths:
            path = re.sub(r"\{(\w+):\w+\}", lambda m: str(values[m[1]]), template)
            found += [(method, path) for method in handler.http_methods if method != "OPTIONS"]
    return found


async def test_no_page_is_shown_without_signing_in(api: Api) -> None:
    user_id = await api.user()
    asked = 0
    for method, path in paths(user_id):
        if path in UNAUTHENTICATED_PATHS:
            continue
        asked += 1
        answer = await Person(api).client.request(method, path, headers={"origin": ORIGIN})
        assert answer.status_code == 303, path
        assert answer.headers["location"].startswith("/console/sign-in"), path
        assert "user " not in answer.text
    assert asked > 20
    live = await Person(api).get("/console/live")
    assert (live.status_code, live.json()["code"]) == (401, "unauthenticated")


async def test_console_needs_a_session_and_the_api_needs_a_key(api: Api) -> None:
    asked = await api.admin.get("/console/users")
    assert asked.status_code == 303
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    assert (await person.get("/console/users")).status_code == 200
    assert (await person.get("/v1/user")).status_code == 401


async def test_cookie_is_http_only_and_same_site(api: Api) -> None:
    person = Person(api)
    answer = await person.sign_in(ADMIN_KEY)
    (cookie,) = (c for c in answer.headers.get_list("set-cookie") if c.startswith("saldo_session="))
    assert {"HttpOnly", "SameSite=strict", "Path=/console"} <= set(cookie.split("; "))
    assert "Secure" not in cookie
    behind = Person(api)
    behind.client.headers["x-forwarded-proto"] = "https"
    page = await behind.get("/console/sign-in")
    assert all("Secure" in cookie for cookie in page.headers.get_list("set-cookie"))


def _cookies_set(answer: httpx.Response) -> dict[str, str]:
    """Return the names and values of an answer's cookies, because httpx doesn't send them back over plain HTTP."""
    pairs = (
        each.partition(";")[0].partition("=") for each in answer.headers.get_list("set-cookie")
    )
    return {name: value for name, _, value in pairs}


async def test_only_cookies_with_the_host_prefix_are_accepted_with_tls(api: Api) -> None:
    """Check cookies planted from a sibling domain, another port or plain HTTP: without the prefix, or a second one."""
    secure = api.client(origin=ORIGIN, **{"x-forwarded-proto": "https"})
    page = await secure.get("/console/sign-in")
    token = TOKEN.search(page.text)
    assert token is not None

    async def send(path: str, *cookies: str, **data: str) -> httpx.Response:
        headers = [("cookie", cookie) for cookie in cookies]
        if data:
            return await secure.post(path, data=data, headers=headers)
        return await secure.get(path, headers=headers)

    visitor = "; ".join(f"{name}={value}" for name, value in _cookies_set(page).items())
    answer = await send("/console/sign-in", visitor, form=token[1], key=ADMIN_KEY)
    (cookie,) = (c for c in answer.headers.get_list("set-cookie") if "saldo_session" in c)
    assert cookie.startswith("__Host-saldo_session=")
    assert {"HttpOnly", "SameSite=strict", "Path=/", "Secure"} <= set(cookie.split("; "))
    assert "domain" not in cookie.lower()
    session = cookie.partition(";")[0]
    planted = session.removeprefix("__Host-")
    for cookies, status in (
        ([session], 200),
        ([f"{session}; {planted}"], 200),
        ([planted], 303),
        ([f"{session}; {session}"], 303),
        ([session, "__Host-saldo_session=x"], 303),
        (["x=1", session], 200),
    ):
        assert (await send("/console/users", *cookies)).status_code == status, cookies
    page = await send("/console/users", session)
    form = TOKEN.search(page.text)
    assert form is not None
    out = await send("/console/sign-out", session, form=form[1])
    assert _cookies_set(out)["__Host-saldo_session"].strip('"') == ""
    assert out.headers["clear-site-data"] == '"cache"'
    assert (await send("/console/users", session)).status_code == 303


async def test_search_cursor_of_a_forbidden_user_is_rejected(api: Api) -> None:
    own, other = await api.user(), await api.user()
    person, _ = await signed_in(api, "read", user_ids=[own])
    for query in (f"q=user&after={other}", f"after={other}", f"q=user&after={2**40}"):
        assert (await person.get(f"/console/users?{query}")).status_code == 403, query
    assert (await person.get(f"/console/users?q=user&after={own}")).status_code == 200


async def test_only_the_hash_of_a_session_is_stored(api: Api, own_ledger: Database) -> None:
    person, key = await signed_in(api, "read")
    secret = person.client.cookies["saldo_session"]
    with psycopg.connect(own_ledger.owner_role_url) as connection:
        (row,) = connection.execute("SELECT s::text FROM saldo.console_sessions AS s").fetchall()
        hashes = connection.execute("SELECT hash FROM saldo.keys").fetchall()
    assert secret not in row[0] and key["key"] not in row[0]
    assert all(bytes(each[0]).hex() not in row[0] for each in hashes)


async def test_signing_in_creates_a_new_secret(api: Api) -> None:
    """Check that a session cookie that an attacker has planted before is no valid session."""
    person = Person(api)
    planted = "A" * 43
    person.client.cookies.set("saldo_session", planted, path="/console")
    await person.sign_in(ADMIN_KEY)
    secrets = {
        cookie.value for cookie in person.client.cookies.jar if cookie.name == "saldo_session"
    }
    assert secrets - {planted}
    other = Person(api)
    other.client.cookies.set("saldo_session", planted, path="/console")
    assert (await other.get("/console/users")).status_code == 303


async def test_unknown_keys_and_keys_without_read_scope_cannot_sign_in(api: Api) -> None:
    for key in ("saldo_" + "x" * 43, "x", "", (await api.key("write"))["key"]):
        person = Person(api)
        answer = await person.sign_in(key)
        assert answer.status_code == 403
        assert 'role="alert"' in answer.text
        assert "saldo_session" not in person.client.cookies
    far = await api.key("read", networks=["192.0.2.0/24"])
    assert (await Person(api).sign_in(far["key"])).status_code == 403
    near = Person(api, address="192.0.2.7")
    assert (await near.sign_in(far["key"])).status_code == 303
    assert (await near.get("/console/users")).status_code == 200


async def test_a_session_ends_with_its_key(api: Api) -> None:
    person, key = await signed_in(api, "read")
    assert (await person.get("/console/users")).status_code == 200
    await api.admin.delete(f"/v1/key/{key['id']}")
    assert (await person.get("/console/users")).status_code == 303


async def test_signing_out_ends_the_session_for_every_holder_of_the_cookie(api: Api) -> None:
    person, _ = await signed_in(api, "read")
    copy = Person(api)
    copy.client.cookies.set(
        "saldo_session", person.client.cookies["saldo_session"], path="/console"
    )
    assert (await copy.get("/console/users")).status_code == 200
    assert (await person.send("/console/sign-out", {}, page="/console/users")).status_code == 303
    assert (await copy.get("/console/users")).status_code == 303


async def test_session_ends_after_the_idle_time_and_after_its_lifetime(
    api: Api, own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saldo.console.session_cache.CACHE_SECONDS", 0.0)
    for column, age in (("used_at", "1801 seconds"), ("began_at", "43201 seconds")):
        person, _ = await signed_in(api, "read")
        with psycopg.connect(own_ledger.owner_role_url) as connection:
            connection.execute(
                f"UPDATE saldo.console_sessions SET {column} = now() - interval '{age}'"
            )
        assert (await person.get("/console/users")).status_code == 303


async def test_automatic_requests_do_not_extend_a_session(
    api: Api, own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saldo.console.session_cache.CACHE_SECONDS", 0.0)
    person, _ = await signed_in(api, "read")

    def used(set_back: bool) -> bool:
        with psycopg.connect(own_ledger.owner_role_url) as connection:
            if set_back:
                connection.execute(
                    "UPDATE saldo.console_sessions SET used_at = now() - interval '600 seconds'"
                )
            row = connection.execute(
                "SELECT used_at > now() - interval '60 seconds' FROM saldo.console_sessions"
            ).fetchone()
        return bool(row and row[0])

    used(True)
    await person.client.get("/console/users", headers={"x-saldo-by-itself": "1"})
    assert not used(False)
    await person.get("/console/users")
    assert used(False)


async def test_new_session_beyond_the_limit_of_a_key_ends_the_oldest(own_ledger: Database) -> None:
    async with serve(own_ledger, console_sessions_of_key_max=2) as api:
        key = (await api.key("read"))["key"]
        people = [Person(api) for _ in range(3)]
        for person in people:
            await person.sign_in(key)
        statuses = [(await person.get("/console/users")).status_code for person in people]
        assert statuses == [303, 200, 200]


async def test_session_is_valid_in_every_process_and_after_a_restart(own_ledger: Database) -> None:
    async with serve(own_ledger) as here:
        person, _ = await signed_in(here, "read")
        secret = person.client.cookies["saldo_session"]
    async with serve(own_ledger) as there:
        again = Person(there)
        again.client.cookies.set("saldo_session", secret, path="/console")
        assert (await again.get("/console/users")).status_code == 200


async def test_form_from_another_site_or_without_its_token_is_rejected(api: Api) -> None:
    user_id = await api.user()
    person, _ = await signed_in(api, "read", "write")
    path = f"/console/users/{user_id}/confirm"
    fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "5"}
    form = TOKEN.search((await person.get("/console/users")).text)
    assert form is not None
    stolen = TOKEN.search((await Person(api).get("/console/sign-in")).text)
    assert stolen is not None
    own = {"origin": ORIGIN}
    for headers, token in (
        ({"origin": "https://elsewhere.example"}, form[1]),
        ({"origin": "null"}, form[1]),
        ({}, form[1]),
        ({**own, "sec-fetch-site": "cross-site"}, form[1]),
        ({**own, "sec-fetch-site": "same-site"}, form[1]),
        (own, ""),
        (own, "0" * 64),
        (own, stolen[1]),
    ):
        answer = await person.client.post(path, data={"form": token, **fields}, headers=headers)
        assert answer.status_code == 403, headers
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "0.00"
    answer = await person.client.post(path, data={"form": form[1], **fields}, headers=own)
    assert answer.status_code == 303
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "5.00"


async def test_form_submitted_many_times_concurrently_posts_once(api: Api) -> None:
    user_id = await api.user()
    person, _ = await signed_in(api, "read", "write")
    page = f"/console/users/{user_id}/post?type=DEPOSIT"
    wanted = await person.send(
        f"/console/users/{user_id}/post", {"type": "DEPOSIT", "amount": "12.50"}, page=page
    )
    confirm = wanted.headers["location"]
    shown = (await person.get(confirm)).text
    assert 'id="before">0.00<' in shown and 'id="after">12.50<' in shown
    form = shown.partition(f'action="{html.escape(confirm)}"')[2]
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    path = confirm.partition("?")[0]
    answers = await asyncio.gather(
        *(person.client.post(path, data=fields, headers={"origin": ORIGIN}) for _ in range(8))
    )
    assert {answer.status_code for answer in answers} == {303}
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "12.50"
    # The link back leads to the outcome, and not to a form with another uuid.
    back = await person.get(confirm)
    assert back.headers["location"].endswith("?done=before")
    assert "12.50 deposited." in (await person.get(back.headers["location"])).text


async def test_refusal_is_shown_with_its_reason_and_invalid_input_not_recorded(
    api: Api,
) -> None:
    user_id = await api.user()
    person, _ = await signed_in(api, "read", "write")
    path = f"/console/users/{user_id}/confirm"
    fields = {"uuid": str(uuid4()), "type": "WITHDRAW", "amount": "1"}
    answer = await person.send(path, fields, page="/console/users")
    result = html.unescape((await person.get(answer.headers["location"])).text)
    assert "Refused: insufficient funds." in result and "final" in result
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "timestamp": later}
    answer = await person.send(path, fields, page="/console/users")
    assert answer.status_code == 409
    assert "The effective date is too far in the future" in answer.text
    assert (await api.admin.get(f"/v1/transaction/{fields['uuid']}")).status_code == 404
    for amount in ("0", "-1", "1.234", "1,5", "1e3", "x", ""):
        typed = {"type": "DEPOSIT", "amount": amount}
        page = f"/console/users/{user_id}/post?type=DEPOSIT"
        answer = await person.send(f"/console/users/{user_id}/post", typed, page=page)
        assert answer.status_code == 422, amount
        assert 'id="amount-wrong"' in answer.text


async def test_console_shows_only_what_the_key_permits(api: Api) -> None:
    own, other = await api.user(), await api.user()
    foreign = deposit(other)
    await api.admin.post("/v1/transaction", json=foreign)
    person, _ = await signed_in(api, "read", user_ids=[own])
    users = (await person.get("/console/users")).text
    assert f"/console/users/{own}" in users and f"/console/users/{other}" not in users
    name = (await api.admin.get(f"/v1/user/{other}")).json()["name"]
    assert f"/console/users/{other}" not in (await person.get(f"/console/users?q={name}")).text
    assert f"/console/users/{other}" not in (await person.get(f"/console/users?q={other}")).text
    page = (await person.get(f"/console/users/{own}")).text
    assert "Deposit</a>" not in page and "/console/keys" not in page
    for path, status in (
        (f"/console/users/{other}", 403),
        (f"/console/users/{other}/chart", 403),
        (f"/console/users/{own}/post", 403),
        (f"/console/transactions/{foreign['uuid']}", 404),
        (f"/console/transactions/{foreign['uuid']}/proof", 404),
        ("/console/overview", 403),
        ("/console/overview/series", 403),
        ("/console/keys", 403),
        ("/console/webhooks", 403),
        ("/console/users/new", 403),
    ):
        assert (await person.get(path)).status_code == status, path
    fields = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1"}
    refused = await person.send(
        f"/console/users/{own}/confirm", fields, page=f"/console/users/{own}"
    )
    assert refused.status_code == 403
    live = await person.get(f"/console/live?user_id={other}")
    assert live.status_code == 403


async def test_console_without_keys_accepts_only_this_machine(
    own_ledger: Database,
) -> None:
    async with serve(own_ledger, admin_key=None) as api:
        person = Person(api)
        assert (await person.get("/console/users")).status_code == 200
        assert "No keys yet" in (await person.get("/console/keys")).text
        rebound = await person.client.get("/console/users", headers={"host": "evil.example"})
        assert rebound.status_code == 403
        made = await person.send("/console/keys", {"name": "first", "admin": "1"})
        secret = re.search(r'id="secret">(saldo_[^<]+)<', made.text)
        assert made.status_code == 200 and secret is not None
        assert (await person.get("/console/users")).status_code == 303
        assert (await person.sign_in(secret[1])).status_code == 303
        assert (await person.get("/console/keys")).status_code == 200


async def test_user_input_is_escaped_in_pages(api: Api) -> None:
    evil = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>"
    created = await api.admin.post("/v1/user", json={"name": evil})
    user_id = created.json()["id"]
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    for path in (
        "/console/users",
        f"/console/users/{user_id}",
        f"/console/users/{user_id}/post",
        "/console/users?q=%3Cscript%3Ealert(1)%3C/script%3E%3C",
        f"/console/users/{user_id}?date=%22%3E%3Cscript%3Ealert(1)%3C/script%3E",
        "/console/settings?to=javascript:alert(1)",
        "/console/x%3Cscript%3E",
    ):
        text = (await person.get(path)).text
        assert "<script>alert" not in text and "<img" not in text, path
        assert 'href="javascript' not in text and 'value="javascript' not in text, path


async def test_a_name_is_found_in_either_spelling(api: Api) -> None:
    """Search for both spellings: keyboards and file names of Macs decompose accents; stored names are composed."""
    unique = str(uuid4())
    made = await api.admin.post("/v1/user", json={"name": f"A\u030angstro\u0308m {unique}"})
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    for beginning in ("\u00c5ngstr\u00f6m", "A\u030angstro\u0308m", "\u212bngstr\u00f6m"):
        found = await person.get(f"/console/users?q={quote(f'{beginning} {unique}')}")
        assert found.headers["location"] == f"/console/users/{made.json()['id']}", ascii(beginning)


async def test_right_to_left_name_does_not_reorder_the_text_next_to_it(api: Api) -> None:
    """Check that a Hebrew name, written from right to left, doesn't reorder the numbers beside it."""
    name = f"\u05d3\u05d5\u05d3 {uuid4()}"
    user_id = (await api.admin.post("/v1/user", json={"name": name})).json()["id"]
    await api.key("read", name=name)
    posted = deposit(user_id)
    await api.admin.post("/v1/transaction", json=posted)
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    for path in (
        "/console/overview",
        "/console/users",
        f"/console/users/{user_id}",
        f"/console/users/{user_id}/post",
        f"/console/users/{user_id}/confirm?uuid={uuid4()}&type=DEPOSIT&amount=1",
        f"/console/transactions/{posted['uuid']}",
        "/console/keys",
    ):
        body = (await person.get(path)).text.partition("<body")[2]
        assert f'<bdi class="name">{name}</bdi>' in body, path
        beside = re.sub(r"<bdi[^>]*>[^<]*</bdi>|<[^>]*>", " ", body)
        assert name not in beside, path


@pytest.mark.parametrize(
    "to",
    [
        "https://elsewhere.example/",
        "//elsewhere.example",
        "/\\elsewhere.example",
        "/v1/user",
        "/consoles",
    ],
)
async def test_signing_in_redirects_only_to_the_console(api: Api, to: str) -> None:
    person = Person(api)
    answer = await person.send("/console/sign-in", {"key": ADMIN_KEY, "to": to})
    assert answer.headers["location"] == "/console"


async def test_pages_have_a_strict_content_security_policy_and_comply_with_it(api: Api) -> None:
    user_id = await api.user()
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    for path in ("/console/overview", f"/console/users/{user_id}", "/console/keys", "/console/x"):
        answer = await person.get(path)
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy
        assert answer.headers.get_list("cache-control") == ["no-store"]
        assert not re.search(r"\son\w+=|\sstyle=|<style|<script(?![^>]*\ssrc=)", answer.text), path


async def test_chart_equals_the_api_at_every_moment(own_ledger: Database) -> None:
    """Compare charts of late entries, simultaneous entries and refusals with the API, for all times and for a range."""
    chance = random.Random(7)
    async with serve(own_ledger, console_chart_entries_max=400) as api:
        user_id = await api.user()
        began = datetime(2026, 1, 1, tzinfo=UTC)
        for number in range(150):
            moment = began + timedelta(hours=chance.choice([number, number, chance.randrange(150)]))
            kind = chance.choice(["DEPOSIT", "DEPOSIT", "WITHDRAW"])
            amount = f"{chance.randrange(1, 90)}.00"
            fields = {"type": kind, "amount": amount, "timestamp": moment.isoformat()}
            await api.admin.post("/v1/transaction", json=deposit(user_id, **fields))
        person = Person(api)
        await person.sign_in(ADMIN_KEY)
        middle = (began.timestamp() + 3600 * 40.5, began.timestamp() + 3600 * 90.5)
        for query in ("", f"?from={middle[0]}&to={middle[1]}"):
            chart = (await person.get(f"/console/users/{user_id}/chart{query}")).json()
            assert chart["how"] == "exact"
            assert chart["times"] == sorted(chart["times"])
            assert len(chart["times"]) > 30
            for seconds, balance in zip(chart["times"], chart["balances"], strict=True):
                date = datetime.fromtimestamp(seconds, UTC).isoformat()
                asked = await api.admin.get(f"/v1/user/{user_id}/balance", params={"date": date})
                assert asked.json()["balance"] == balance["plain"], date


async def test_chart_of_many_entries_is_bounded_and_correct(own_ledger: Database) -> None:
    async with serve(own_ledger, console_chart_points_max=100) as api:
        user_id = await api.user()
        began = datetime(2026, 1, 1, tzinfo=UTC)
        items = [
            deposit(user_id, timestamp=(began + timedelta(minutes=number)).isoformat())
            for number in range(600)
        ]
        await api.admin.post("/v1/transactions", json=items[:300])
        await api.admin.post("/v1/transactions", json=items[300:])
        person = Person(api)
        await person.sign_in(ADMIN_KEY)
        edges = f"?from={began.timestamp()}&to={began.timestamp() + 36_000}"
        chart = (await person.get(f"/console/users/{user_id}/chart{edges}")).json()
        assert (chart["how"], len(chart["times"]) <= 100) == ("thinned", True)
        assert chart["balances"][-1]["plain"] == "600.00"
    async with serve(own_ledger, console_chart_entries_max=100) as api:
        person = Person(api)
        await person.sign_in(ADMIN_KEY)
        chart = (await person.get(f"/console/users/{user_id}/chart{edges}")).json()
        assert (chart["how"], len(chart["times"])) == ("sampled", 1000)
        for seconds, balance in list(zip(chart["times"], chart["balances"], strict=True))[::97]:
            date = datetime.fromtimestamp(seconds, UTC).isoformat()
            asked = await api.admin.get(f"/v1/user/{user_id}/balance", params={"date": date})
            assert asked.json()["balance"] == balance["plain"]
        for wrong in (
            "?from=2&to=1",
            "?from=x&to=1",
            "?from=1",
            "?from=1&to=nan",
            "?from=1&to=1e999",
        ):
            answer = await person.get(f"/console/users/{user_id}/chart{wrong}")
            assert answer.status_code == 422, wrong


async def test_users_are_found_by_the_beginning_of_the_name_by_id_and_by_transaction(
    api: Api,
) -> None:
    ids = {}
    for name in ("Shop-1", "shop-12", "Sh%op-1", "Счёт", "Box-9", "17"):
        ids[name] = (await api.admin.post("/v1/user", json={"name": name})).json()["id"]
    posted = deposit(ids["Box-9"])
    await api.admin.post("/v1/transaction", json=posted)
    person = Person(api)
    await person.sign_in(ADMIN_KEY)

    async def find_names(q: str) -> list[str]:
        answer = await person.client.get(
            "/console/users", params={"q": q}, headers={"hx-request": "true"}
        )
        body = answer.text.partition('id="found"')[2]
        return re.findall(r'<td class="lead"[^>]*><a [^>]*><bdi[^>]*>([^<]+)</bdi></a>', body)

    assert await find_names("sh") == ["Sh%op-1", "Shop-1", "shop-12"]
    assert await find_names("sh%") == ["Sh%op-1"]
    assert await find_names("_ho") == []
    for typed in ("счё", "Счё", "СЧЁ", "СЧЁТ", "сЧЁТ"):
        assert await find_names(typed) == ["Счёт"], typed
    assert await find_names("17") == ["17"]
    assert await find_names(str(ids["Box-9"])) == ["Box-9"]
    one = await person.get("/console/users?q=bo")
    assert one.headers["location"] == f"/console/users/{ids['Box-9']}"
    one = await person.get(f"/console/users?q={posted['uuid']}")
    assert one.headers["location"] == f"/console/transactions/{posted['uuid']}"


async def test_search_pages_contain_every_match_once(api: Api) -> None:
    """Read all pages of a search in Cyrillic letters, whose case the database may not know."""
    wanted = [f"Юра {number:03}" for number in range(60)]
    for name in ("Яна", "Эмма", *wanted):
        await api.admin.post("/v1/user", json={"name": name})
    person = Person(api)
    await person.sign_in(ADMIN_KEY)
    path, found = "/console/users?q=ЮРА", list[str]()
    while path:
        text = html.unescape((await person.get(path)).text)
        found += re.findall(r'<bdi class="name">([^<]+)</bdi>', text)
        more = re.search(r'href="(/console/users\?q=[^"]*after=[^"]*)"', text)
        path = more[1] if more else ""
    assert found == wanted


async def test_disabled_console_is_not_found(own_ledger: Database) -> None:
    async with serve(own_ledger, console_enabled=False) as api:
        answer = await api.client().get("/console")
        assert (answer.status_code, answer.json()["code"]) == (404, "not_found")
    assert create_settings(own_ledger.service_role_url).console_enabled
