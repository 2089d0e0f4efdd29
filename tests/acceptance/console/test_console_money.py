"""Deposits and withdrawals in the console, without a browser: the page always keeps the transaction's uuid."""

from __future__ import annotations

import html
import re
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import httpx
import psycopg
import pytest

from harness.postgresql.databases import Database
from saldo.engine.engine import Engine
from saldo.engine.errors import DeadlineExceededError, OutcomeUnknownError
from tests.acceptance.access.test_access import ADMIN_KEY, Api, deposit, serve
from tests.acceptance.console.test_console import ORIGIN, Person

WAYS_ON = re.compile(r'(?:action|href|name="to" value)="(/console/[^"]*)"')


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serve(own_ledger) as served:
        yield served


@pytest.fixture
async def person(api: Api) -> Person:
    found = Person(api)
    await found.sign_in(ADMIN_KEY)
    return found


def make_engine_fail(monkeypatch: pytest.MonkeyPatch, error: Exception, *, posts: bool) -> None:
    """Make the engine raise an error. posts: whether the transaction is decided all the same."""
    real = Engine.post

    async def post(self: Engine, request: Any) -> Any:
        if posts:
            await real(self, request)
        raise error

    monkeypatch.setattr(Engine, "post", post)


async def confirm(person: Person, address: str) -> httpx.Response:
    """Press the button of the confirmation page, as a browser does."""
    page = await person.get(address)
    form = page.text.partition('<form method="post" action="/console/users')[2]
    action = html.unescape("/console/users" + form.partition('"')[0])
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', form))
    return await person.client.post(action, data=fields, headers={"origin": ORIGIN})


def address(user_id: int, **fields: str) -> str:
    wanted = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "5.00"} | fields
    return str(httpx.URL(f"/console/users/{user_id}/confirm", params=wanted))


async def test_every_link_after_an_unknown_outcome_keeps_the_uuid(
    api: Api, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.user()
    asked = address(user_id, timestamp="2026-01-01T00:00:00+00:00")
    wanted = parse_qs(urlsplit(asked).query)
    with monkeypatch.context() as patched:
        make_engine_fail(patched, OutcomeUnknownError(), posts=True)
        answer = await confirm(person, asked)
    assert answer.status_code == 503
    assert "not known yet" in answer.text
    assert parse_qs(answer.url.query.decode()) == wanted
    ways = [html.unescape(way) for way in WAYS_ON.findall(answer.text)]
    to_itself = [way for way in ways if way.startswith(f"/console/users/{user_id}/confirm")]
    assert len(to_itself) == 2  # send again; another theme
    assert all(parse_qs(urlsplit(way).query) == wanted for way in to_itself)
    (back,) = (way for way in ways if way.startswith(f"/console/users/{user_id}/post"))
    # The transaction was decided meanwhile, and each link leads to a page that shows it.
    for way in (*to_itself, back):
        result = await person.get(way)
        assert result.headers["location"].endswith(f"/{wanted['uuid'][0]}?done=before"), way
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "5.00"


async def test_going_back_and_on_again_keeps_the_transaction(
    api: Api, person: Person, monkeypatch: pytest.MonkeyPatch
) -> None:
    user_id = await api.user()
    asked = address(user_id)
    (uuid,) = parse_qs(urlsplit(asked).query)["uuid"]
    with monkeypatch.context() as patched:
        make_engine_fail(patched, DeadlineExceededError(), posts=False)
        answer = await confirm(person, asked)
    # An earlier attempt may have posted it.
    assert "This time nothing was posted" in answer.text
    (back,) = re.findall(r'href="(/console/users/\d+/post[^"]*)"', answer.text)
    form = f"/console/users/{user_id}/post"
    fields = {"uuid": uuid, "type": "DEPOSIT", "amount": "5.00"}
    assert f'name="uuid" value="{uuid}"' in (await person.get(html.unescape(back))).text
    wrong = await person.send(form, {**fields, "amount": "x"}, page=html.unescape(back))
    assert wrong.status_code == 422 and f'name="uuid" value="{uuid}"' in wrong.text
    on = await person.send(form, fields, page=html.unescape(back))
    assert parse_qs(urlsplit(on.headers["location"]).query)["uuid"] == [uuid]


async def test_other_amount_with_a_recorded_uuid_shows_the_recorded_one(
    api: Api, person: Person
) -> None:
    user_id, uuid = await api.user(), str(uuid4())
    other = address(user_id, uuid=uuid, amount="7.00")
    early = html.unescape((await person.get(other)).text)
    assert (await confirm(person, address(user_id, uuid=uuid))).status_code == 303
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', early))
    sent = {"form": fields["form"], "uuid": uuid, "type": "DEPOSIT", "amount": "7.00"}
    late = await person.client.post(other, data=sent, headers={"origin": ORIGIN})
    for answer in (late, await person.get(other)):
        assert answer.headers["location"].endswith(f"/{uuid}?done=other")
    text = (await person.get(late.headers["location"])).text
    assert "Another transaction is recorded under this uuid" in text and "deposited." not in text
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "5.00"


async def test_get_of_an_invalid_page_does_not_claim_that_nothing_was_done(
    api: Api, person: Person
) -> None:
    user_id = await api.user()
    answer = await person.get(f"/console/users/{user_id}/confirm")
    assert answer.status_code == 422
    assert "Nothing was changed" not in answer.text


async def test_form_submitted_after_the_session_ended_returns_to_its_page(
    api: Api, own_ledger: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("saldo.console.session_cache.CACHE_SECONDS", 0.0)
    user_id, person = await api.user(), Person(api)
    await person.sign_in(ADMIN_KEY)
    asked = address(user_id)
    text = html.unescape((await person.get(asked)).text)
    (token,) = set(re.findall(r'name="form" value="(\w+)"', text))
    uuid = parse_qs(urlsplit(asked).query)["uuid"][0]
    fields = {"form": token, "uuid": uuid, "type": "DEPOSIT", "amount": "5.00"}
    with psycopg.connect(own_ledger.owner_role_url) as connection:
        connection.execute("UPDATE saldo.console_sessions SET used_at = now() - interval '1 day'")
    sent = await person.client.post(asked, data=fields, headers={"origin": ORIGIN})
    assert sent.status_code == 303
    to = parse_qs(urlsplit(sent.headers["location"]).query)["to"][0]
    back = await person.send("/console/sign-in", {"key": ADMIN_KEY, "to": to})
    assert back.headers["location"] == asked
    assert (await confirm(person, asked)).status_code == 303
    assert (await api.admin.get(f"/v1/user/{user_id}")).json()["balance"] == "5.00"


@pytest.mark.parametrize(
    ("referer", "to"),
    [
        ("http://localhost/console/keys?after=3", "/console/keys?after=3"),
        *(("https://elsewhere.example//evil/console", "/console"), ("http://[", "/console")),
        (None, "/console"),
    ],
)
async def test_other_forms_lead_back_to_the_page_they_were_on(
    api: Api, referer: str | None, to: str
) -> None:
    headers = {"origin": ORIGIN} | ({"referer": referer} if referer else {})
    sent = await Person(api).client.post("/console/keys/1/revoke", headers=headers)
    assert parse_qs(urlsplit(sent.headers["location"]).query) == {"to": [to]}


async def test_form_from_before_signing_in_links_to_its_page(api: Api) -> None:
    user_id, person = await api.user(), Person(api)
    await person.sign_in(ADMIN_KEY)
    asked = address(user_id)
    sent = await person.client.post(asked, data={"form": "0" * 64}, headers={"origin": ORIGIN})
    assert sent.status_code == 403
    assert f'href="{html.escape(asked)}"' in sent.text


async def test_late_withdrawal_is_compared_with_the_balance_at_its_date(
    api: Api, person: Person
) -> None:
    user_id, now = await api.user(), datetime.now(UTC)
    await api.admin.post("/v1/transaction", json=deposit(user_id, amount="50.00"))
    dated = address(
        user_id, type="WITHDRAW", amount="20.00", timestamp=(now - timedelta(days=2)).isoformat()
    )
    page = (await person.get(dated)).text
    assert "On the effective date the balance was too low" in page
    assert 'id="then">0.00' in page and 'id="after">30.00' in page
    refused = (await person.get((await confirm(person, dated)).headers["location"])).text
    assert "The balance was too low on the effective date, or at some time since" in refused
    assert "Balance (unchanged)" in refused and "Balance after" not in refused
    for fields in ({"type": "DEPOSIT"}, {"type": "WITHDRAW", "amount": "20.00"}):
        enough = (await person.get(address(user_id, **fields))).text
        assert "too low" not in enough and 'id="then"' not in enough
    plain = await confirm(person, address(user_id, type="WITHDRAW", amount="60.00"))
    assert "or at some time since" not in (await person.get(plain.headers["location"])).text


async def test_future_timestamp_shows_a_warning_and_no_retry(api: Api, person: Person) -> None:
    later = (datetime.now(UTC) + timedelta(days=1)).isoformat()
    asked = address(await api.user(), timestamp=later)
    assert "The effective date is in the future" in (await person.get(asked)).text
    answer = await confirm(person, asked)
    assert answer.status_code == 409
    assert "Send again" not in answer.text and 'id="confirm"' not in answer.text
    assert ">Back</a>" in answer.text


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Amount must be at most 50.00."), ("ru", "Сумма: введите не больше 50,00.")],
)
async def test_too_large_amount_shows_the_maximum(
    own_ledger: Database, language: str, said: str
) -> None:
    async with serve(own_ledger, amount_max_minor=5000) as api:
        person = Person(api)
        person.client.headers["accept-language"] = language
        await person.sign_in(ADMIN_KEY)
        form = f"/console/users/{await api.user()}/post"
        assert ("50.00" if language == "en" else "50,00") in (await person.get(form)).text
        answer = await person.send(form, {"type": "DEPOSIT", "amount": "51"})
        assert answer.status_code == 422 and said in answer.text
