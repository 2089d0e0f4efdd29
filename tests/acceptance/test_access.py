"""Who is let in, and to what: keys, tokens, rates; on every route of the OpenAPI document."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from saldo.access import tokens
from saldo.access.grant import Scope
from saldo.bootstrap.service import running
from saldo.http.access import scope_of
from saldo.http.hot import Front
from tests.acceptance.document import Document
from tests.acceptance.provider import AUDIENCE, ISSUER, Provider, providing
from tests.conftest import settings_for
from tests.databases import Database

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"
OPEN = {"/healthz/live", "/healthz/ready", "/healthz/startup"}


class Api:
    """Clients of one application, each with a key of its own; every answer is held against the document."""

    def __init__(self, front: Front, document: Document) -> None:
        self.front = front
        self.document = document
        self._number = 0

    def client(
        self, key: str | None = None, *, address: str = "127.0.0.1", **headers: str
    ) -> httpx.AsyncClient:
        """One that sends this key with everything."""
        if key is not None:
            headers["authorization"] = f"Bearer {key}"

        async def check(response: httpx.Response) -> None:
            if response.headers["content-type"] not in {
                "application/x-ndjson",
                "text/event-stream",
            }:
                await response.aread()
                self.document.check(response)

        return httpx.AsyncClient(
            transport=httpx.ASGITransport(app=self.front, client=(address, 1)),  # type: ignore[arg-type]
            base_url="http://localhost",
            headers=headers,
            event_hooks={"response": [check]},
        )

    @property
    def admin(self) -> httpx.AsyncClient:
        """One that may do everything."""
        return self.client(ADMIN_KEY)

    async def key(self, *scopes: str, **fields: Any) -> dict[str, Any]:
        """A new key, with what opens the door."""
        self._number += 1
        asked = {"name": f"key {self._number}", "scopes": scopes, **fields}
        created = await self.admin.post("/v1/key", json=asked)
        assert created.status_code == 201, created.text
        found: dict[str, Any] = created.json()
        return found

    async def user(self) -> int:
        """A new user."""
        created = await self.admin.post("/v1/user", json={"name": f"user {uuid4()}"})
        return int(created.json()["id"])


@asynccontextmanager
async def serving(ledger: Database, **settings: object) -> AsyncIterator[Api]:
    own = {"admin_key": ADMIN_KEY, "keys_refresh_seconds": 60.0} | settings
    async with running(settings_for(ledger.service_url, **own), ledger.service_url) as front:
        transport = httpx.ASGITransport(app=front)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            document = Document((await client.get("/openapi.json")).json())
        yield Api(front, document)


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serving(own_ledger) as served:
        yield served


def deposit(user_id: int, **fields: Any) -> dict[str, Any]:
    return {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1.00", "user_id": user_id} | fields


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def test_every_route_asks_for_a_valid_key_with_its_scope(api: Api) -> None:
    keys = {scope: (await api.key(scope))["key"] for scope in Scope}
    revoked = await api.key("admin")
    assert (await api.admin.delete(f"/v1/key/{revoked['id']}")).json()["valid"] is False
    guarded = 0
    for method, template, operation in api.document.operations:
        path = template.replace("{user_id}", "1").replace("{uuid}", str(uuid4()))
        path = path.replace("{webhook_id}", "1").replace("{key_id}", "999")
        needed = scope_of(method.upper(), path)
        assert (needed is None) == (template in OPEN) == (operation.get("security") == [{}])
        if needed is None:
            continue
        guarded += 1
        without = await api.client().request(method, path)
        assert code(without) == (401, "unauthenticated"), path
        assert without.headers["www-authenticate"] == "Bearer"
        for wrong in (revoked["key"], "saldo_" + "x" * 43, "", "a b", "x" * 9000):
            assert code(await api.client(wrong).request(method, path)) == (401, "unauthenticated")
        basic = api.client(authorization="Basic YTpi")
        assert code(await basic.request(method, path)) == (401, "unauthenticated")
        for scope, key in keys.items():
            if template == "/v1/events" and scope in {needed, Scope.ADMIN}:
                continue  # goes on for ever
            answer = await api.client(key).request(method, path)
            if scope in {needed, Scope.ADMIN}:
                assert answer.status_code not in {401, 403}, (path, answer.text)
            else:
                assert code(answer) == (403, "forbidden"), path
                assert needed in answer.json()["detail"]
    assert guarded > 15


@pytest.mark.parametrize(
    "path",
    [
        *("//v1/key", "/v1//key", "/v1/key/", "/docs/../v1/key", "/docs/assets/../../v1/key"),
        *(
            "/healthz/live/../../v1/key",
            "/%76%31/key",
            "/v1/%6bey",
            "/V1/KEY",
            "/v1/key;x",
            "/v1/key%00",
        ),
        *("/metrics/", "//metrics", "/nothing", "/docs/%2e%2e/v1/key", "/v1/user/../key"),
    ],
)
async def test_no_spelling_of_a_path_gets_around(api: Api, path: str) -> None:
    sent = httpx.Request("GET", "http://localhost/")
    sent.url = sent.url.copy_with(raw_path=path.encode())
    sent.headers["host"] = "localhost"
    answer = await api.client().send(sent)
    assert answer.status_code in {401, 404}, answer.text
    assert "items" not in answer.text and "saldo_http" not in answer.text


async def test_a_key_of_some_users_is_about_them_only(api: Api) -> None:
    own, other = await api.user(), await api.user()
    key = await api.key("read", "write", user_ids=[own])
    client = api.client(key["key"])
    posted = deposit(own)
    assert (await client.post("/v1/transaction", json=posted)).status_code == 200
    others = deposit(other)
    assert (await api.admin.post("/v1/transaction", json=others)).status_code == 200

    assert code(await client.post("/v1/transaction", json=deposit(other))) == (403, "forbidden")
    for path in (
        f"/v1/user/{other}",
        f"/v1/user/{other}/balance",
        f"/v1/user/{other}/transactions",
    ):
        assert code(await client.get(path)) == (403, "forbidden")
        assert (await client.get(path.replace(str(other), str(own), 1))).status_code == 200
    assert code(await client.get(f"/v1/user/{other}/balance?date=2026-01-01")) == (403, "forbidden")
    assert code(await client.get(f"/v1/user/{2**60}")) == (403, "forbidden")
    assert (await client.get(f"/v1/transaction/{posted['uuid']}")).status_code == 200
    assert code(await client.get(f"/v1/proof/{posted['uuid']}")) == (409, "not_sealed_yet")
    hidden = await client.get(f"/v1/proof/{others['uuid']}")
    assert code(hidden) == (404, "transaction_not_found")
    hidden = await client.get(f"/v1/transaction/{others['uuid']}")
    assert code(hidden) == (404, "transaction_not_found")
    assert code(await client.get("/v1/user")) == (403, "forbidden")
    assert code(await client.post("/v1/user", json={"name": "new"})) == (403, "forbidden")
    assert code(await client.get(f"/v1/events?user_id={own},{other}")) == (403, "forbidden")

    lines = [deposit(own), deposit(other), deposit(own)]
    array = await client.post("/v1/transactions", json=lines)
    streamed = await client.post(
        "/v1/transactions",
        content="".join(json.dumps(deposit(each["user_id"])) + "\n" for each in lines),
        headers={"content-type": "application/x-ndjson"},
    )
    for answer in (array, streamed):
        found = [json.loads(line)["status"] for line in answer.text.splitlines()]
        assert found == [200, 403, 200]
    atomic = await client.post("/v1/transactions?atomic=true", json=[deposit(own), deposit(other)])
    assert (atomic.status_code, atomic.json()["item"]) == (403, 1)
    assert (await client.get(f"/v1/user/{own}/balance")).json()["balance"] == "5.00"
    assert (await api.admin.get(f"/v1/user/{other}/balance")).json()["balance"] == "1.00"


async def test_a_conflict_tells_what_is_recorded_only_to_who_may_read_it(api: Api) -> None:
    own, other = await api.user(), await api.user()
    recorded = deposit(other)
    await api.admin.post("/v1/transaction", json=recorded)
    asked = recorded | {"user_id": own}
    for key, shown in (
        (await api.key("read", "write"), True),
        (await api.key("write"), False),
        (await api.key("read", "write", user_ids=[own]), False),
    ):
        client = api.client(key["key"])
        single = (await client.post("/v1/transaction", json=asked)).json()
        (line,) = (await client.post("/v1/transactions", json=[asked])).text.splitlines()
        for answer in (single, json.loads(line)):
            assert answer["code"] == "uuid_conflict"
            assert answer["differing_fields"] == ["user_id"]
            assert answer["recorded"] == ({"user_id": other} if shown else {})


async def test_a_key_may_be_limited_to_networks(own_ledger: Database) -> None:
    async with serving(own_ledger, proxies="10.0.0.0/8") as api:
        key = (await api.key("read", networks=["192.0.2.0/24", "2001:db8::/32"]))["key"]

        async def asked(address: str, **headers: str) -> int:
            client = api.client(key, address=address, **headers)
            # Twice: the second one is let in at once, or it should not be.
            statuses = {(await client.get("/v1/user")).status_code for _ in range(2)}
            return statuses.pop() if len(statuses) == 1 else 0

        forwarded = "x-forwarded-for"
        assert await asked("192.0.2.7") == 200
        assert await asked("2001:db8::7") == 200
        assert await asked("::ffff:192.0.2.7") == 200
        assert await asked("198.51.100.7") == 403
        assert await asked("10.0.0.1") == 403
        assert await asked("10.0.0.1", **{forwarded: "192.0.2.7"}) == 200
        assert await asked("10.0.0.1", **{forwarded: "192.0.2.7, 198.51.100.7"}) == 403
        assert await asked("10.0.0.1", **{forwarded: "198.51.100.7, 192.0.2.7, 10.0.0.2"}) == 200
        assert await asked("10.0.0.1", **{forwarded: "nonsense"}) == 403
        assert await asked("198.51.100.7", **{forwarded: "192.0.2.7"}) == 403


async def test_a_key_expires(api: Api) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = await api.key("read", expires_at=soon.isoformat())
    client = api.client(key["key"])
    assert (await client.get("/v1/user")).status_code == 200
    (grant,) = (
        grant
        for grant in api.front.service.gate._known.values()
        if grant.name == f"key {key['id']}"
    )
    object.__setattr__(grant, "expires_at", datetime.now(UTC).timestamp() - 1)
    assert code(await client.get("/v1/user")) == (401, "unauthenticated")


async def test_a_replaced_key_stays_valid_for_a_while(api: Api) -> None:
    old = await api.key("read", "write", networks=["127.0.0.1"])
    path = f"/v1/key/{old['id']}/rotate"
    new = (await api.admin.post(path, json={"overlap_seconds": 3600})).json()
    assert {name: new[name] for name in ("name", "scopes", "networks")} == {
        name: old[name] for name in ("name", "scopes", "networks")
    }
    for key in (old, new):
        assert (await api.client(key["key"]).get("/v1/user")).status_code == 200
    listed = {each["id"]: each for each in (await api.admin.get("/v1/key")).json()["items"]}
    assert listed[old["id"]]["replaced_by"] == new["id"]
    assert "key" not in listed[new["id"]]
    assert code(await api.admin.post(path)) == (409, "key_not_valid")

    newest = (
        await api.admin.post(f"/v1/key/{new['id']}/rotate", json={"overlap_seconds": 0})
    ).json()
    await api.front.service.keyring.look()
    assert (await api.client(new["key"]).get("/v1/user")).status_code == 401
    assert (await api.client(newest["key"]).get("/v1/user")).status_code == 200


async def test_what_can_be_no_key_is_refused_with_every_fault(api: Api) -> None:
    wrong = {
        "name": " ",
        "scopes": ["read", "everything"],
        "user_ids": [0],
        "networks": ["192.0.2.1/24"],
        "expires_at": "2020-01-01",
        "user": 1,
    }
    answer = await api.admin.post("/v1/key", json=wrong)
    assert answer.status_code == 422
    assert {error["field"] for error in answer.json()["errors"]} == {*wrong}
    limited_admin = {"name": "x", "scopes": ["admin"], "user_ids": [1]}
    answer = await api.admin.post("/v1/key", json=limited_admin)
    assert [error["field"] for error in answer.json()["errors"]] == ["user_ids"]


async def test_there_are_at_most_so_many_valid_keys(own_ledger: Database) -> None:
    async with serving(own_ledger, keys_max=2) as api:
        first = await api.key("read")
        await api.key("read")
        asked = {"name": "x", "scopes": ["read"]}
        assert code(await api.admin.post("/v1/key", json=asked)) == (409, "too_many_keys")
        await api.admin.delete(f"/v1/key/{first['id']}")
        assert (await api.admin.post("/v1/key", json=asked)).status_code == 201


async def test_other_processes_learn_of_new_and_revoked_keys(own_ledger: Database) -> None:
    async with serving(own_ledger) as here, serving(own_ledger) as there:
        key = await here.key("read")
        assert (await there.client(key["key"]).get("/v1/user")).status_code == 200
        await here.admin.delete(f"/v1/key/{key['id']}")
        assert (await here.client(key["key"]).get("/v1/user")).status_code == 401
        await there.front.service.keyring.look()
        assert (await there.client(key["key"]).get("/v1/user")).status_code == 401


async def test_a_key_that_nobody_knows_asks_the_database_seldom(api: Api) -> None:
    asked = 0
    version = api.front.service.keys.version

    async def counted() -> int:
        nonlocal asked
        asked += 1
        return await version()

    api.front.service.keyring._keys.version = counted  # type: ignore[method-assign]
    made_up = [api.client(f"saldo_{number}").get("/v1/user") for number in range(200)]
    assert {answer.status_code for answer in await asyncio.gather(*made_up)} == {401}
    assert 1 <= asked <= 3


async def test_a_key_is_kept_as_a_hash(
    api: Api, own_ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    key = (await api.key("read"))["key"]
    await api.client(key).get("/v1/user")
    with psycopg.connect(own_ledger.owner_url) as connection:
        ((row,),) = connection.execute("SELECT to_json(k)::text FROM saldo.keys AS k").fetchall()
    assert key not in row and key.removeprefix("saldo_") not in row
    assert key not in caplog.text and ADMIN_KEY not in caplog.text
    assert "was made by SALDO_ADMIN_KEY" in caplog.text


async def test_without_any_key_only_this_machine_is_answered(own_ledger: Database) -> None:
    async with serving(own_ledger, admin_key=None) as api:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert (await api.client(host=host).get("/v1/user")).status_code == 200
        # What a page that a browser on this machine shows would send.
        for headers in (
            {"host": "evil.example"},
            {"host": "localhost", "origin": "https://evil.example"},
            {"host": "localhost:8000", "origin": "http://localhost:3000"},
            {"host": "localhost", "origin": "null"},
        ):
            answer = await api.client(**headers).post("/v1/user", json={"name": "x"})
            assert code(answer) == (403, "forbidden"), headers
        own_page = {"host": "localhost:8000", "origin": "http://localhost:8000"}
        assert (await api.client(**own_page).get("/v1/user")).status_code == 200

        # The first key closes the door, and it stays closed when no key is valid any more.
        created = await api.client().post("/v1/key", json={"name": "x", "scopes": ["admin"]})
        await api.front.service.keyring.look()
        assert (await api.client().get("/v1/user")).status_code == 401
        path = f"/v1/key/{created.json()['id']}"
        assert (await api.client(created.json()["key"]).delete(path)).status_code == 200
        assert (await api.client().get("/v1/user")).status_code == 401


async def test_insecure_answers_under_any_name_but_no_other_site(own_ledger: Database) -> None:
    async with serving(own_ledger, admin_key=None, insecure=True) as api:
        assert (await api.client(host="saldo.example").get("/v1/user")).status_code == 200
        other = {"host": "saldo.example", "origin": "https://evil.example"}
        assert (await api.client(**other).get("/v1/user")).status_code == 403


async def test_more_requests_than_the_rate_are_told_when_to_come_back(own_ledger: Database) -> None:
    async with serving(own_ledger, rate_per_second=0.001, rate_burst=3) as api:
        key, other = await api.key("read", "write"), await api.key("read")
        user_id = await api.user()
        client = api.client(key["key"])
        for _ in range(3):
            assert (await client.get(f"/v1/user/{user_id}/balance")).status_code == 200
        for answer in (
            await client.get(f"/v1/user/{user_id}/balance"),
            await client.post("/v1/transaction", json=deposit(user_id)),
            await client.get("/v1/user"),
        ):
            assert code(answer) == (429, "too_many_requests")
            assert 900 <= int(answer.headers["retry-after"]) <= 1000
        assert (await api.client(other["key"]).get("/v1/user")).status_code == 200
        assert (await api.admin.get(f"/v1/user/{user_id}/balance")).json()["balance"] == "0.00"


async def test_each_transaction_of_an_array_counts(own_ledger: Database) -> None:
    async with serving(own_ledger, rate_per_second=0.001, rate_burst=3) as api:
        key, user_id = await api.key("write"), await api.user()
        client = api.client(key["key"])
        many = [deposit(user_id) for _ in range(10)]
        assert (await client.post("/v1/transactions", json=many)).status_code == 200
        answer = await client.post("/v1/transaction", json=deposit(user_id))
        assert (answer.status_code, int(answer.headers["retry-after"]) > 7000) == (429, True)


async def test_a_stream_ends_when_its_key_is_revoked(api: Api) -> None:
    key, user_id = await api.key("write"), await api.user()
    client = api.client(key["key"])

    async def lines() -> AsyncIterator[bytes]:
        yield json.dumps(deposit(user_id)).encode() + b"\n"
        while (await api.admin.get(f"/v1/user/{user_id}/balance")).json()["balance"] == "0.00":
            pass
        await api.admin.delete(f"/v1/key/{key['id']}")
        yield json.dumps(deposit(user_id)).encode() + b"\n"
        yield json.dumps(deposit(user_id)).encode() + b"\n"

    headers = {"content-type": "application/x-ndjson"}
    answer = await client.post("/v1/transactions", content=lines(), headers=headers)
    found = [
        (json.loads(line)["line"], json.loads(line)["status"]) for line in answer.text.splitlines()
    ]
    assert found == [(1, 200), (2, 401)]
    assert (await api.admin.get(f"/v1/user/{user_id}/balance")).json()["balance"] == "1.00"


# --- tokens of an identity provider ----------------------------------------------------------------


@pytest.fixture
async def provider() -> AsyncIterator[Provider]:
    async with providing() as found:
        yield found


def of(provider: Provider, **settings: object) -> dict[str, Any]:
    named = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": provider.url}
    return {"admin_key": None, **named, **settings}


async def test_tokens_are_taken_with_their_scopes(own_ledger: Database, provider: Provider) -> None:
    async with serving(own_ledger, **of(provider)) as api:
        for name in ("rsa", "ec", "ed"):
            client = api.client(provider.token(name, scope="read"))
            for _ in range(2):
                assert (await client.get("/v1/user")).status_code == 200
                assert code(await client.post("/v1/user", json={"name": "x"})) == (403, "forbidden")
        listed = api.client(provider.token(scope=["write", "other", 1]))
        assert (await listed.post("/v1/user", json={"name": "x"})).status_code == 201
        assert code(await api.client(provider.token(scope=None)).get("/v1/user")) == (
            403,
            "forbidden",
        )
        assert (await api.client().get("/v1/user")).status_code == 401
        assert (await api.client(provider.token(scope="admin")).get("/v1/key")).status_code == 200
        late = provider.token(exp=int(datetime.now(UTC).timestamp()) - 10)
        assert (await api.client(late).get("/v1/user")).status_code == 200  # clocks may be off
        assert provider.asked == 1


async def test_forged_and_foreign_tokens_are_refused(
    own_ledger: Database, provider: Provider
) -> None:
    provider.add("thief", "RS256", provider.keys["rsa"][1], published=False)
    from cryptography.hazmat.primitives.asymmetric import rsa

    thief = rsa.generate_private_key(65537, 2048)
    provider.keys["thief"] = ("RS256", thief)
    now = int(datetime.now(UTC).timestamp())
    async with serving(own_ledger, **of(provider)) as api:
        for what, token in {
            "alg none": provider.unsigned(),
            "public key as secret": provider.signed_with_the_public_key(),
            "altered claims": provider.altered(),
            "another's key under the name of ours": provider.token("thief", headers={"kid": "rsa"}),
            "unknown key": provider.token("thief"),
            "a key that it brings itself": provider.token(
                "thief", headers={"jku": "http://127.0.0.1:1/", "jwk": {"kty": "RSA"}}
            ),
            "another kind of key": provider.token("rsa", headers={"kid": "ec"}),
            "critical header": provider.token(headers={"crit": ["b64"], "b64": True}),
            "expired": provider.token(exp=now - 3600),
            "never expires": provider.token(exp=None),
            "not yet": provider.token(nbf=now + 3600),
            "issuer": provider.token(iss="https://evil.example"),
            "no issuer": provider.token(iss=None),
            "audience": provider.token(aud="another"),
            "no audience": provider.token(aud=None),
            "no token": "a.b.c",
            "points": "..",
            "too long": provider.token(padding="x" * 9000),
        }.items():
            answer = await api.client(token).get("/v1/user")
            assert code(answer) == (401, "unauthenticated"), what
            assert token not in answer.text


async def test_the_providers_new_key_is_found_and_its_old_one_forgotten(
    own_ledger: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    async with serving(own_ledger, **of(provider)) as api:
        old = api.client(provider.token("rsa"))
        assert (await old.get("/v1/user")).status_code == 200
        provider.add("new", "RS256", rsa.generate_private_key(65537, 2048))
        new = api.client(provider.token("new"))
        assert (await new.get("/v1/user")).status_code == 401  # asked for a moment ago
        monkeypatch.setattr(tokens, "LOOK_AGAIN_SECONDS", 0.0)
        assert (await new.get("/v1/user")).status_code == 200
        provider.published.discard("rsa")
        provider.add("newer", "ES256", provider.keys["ec"][1])
        assert (await api.client(provider.token("newer")).get("/v1/user")).status_code == 200
        assert (await old.get("/v1/user")).status_code == 401


async def test_a_token_may_be_about_some_users(own_ledger: Database, provider: Provider) -> None:
    given = of(provider, jwt_users_claim="account", jwt_scope_prefix="saldo:")
    async with serving(own_ledger, **given | {"admin_key": ADMIN_KEY}) as api:
        own, other = await api.user(), await api.user()
        scope = "saldo:read saldo:admin"
        for account, status in (
            (own, 200),
            (str(own), 200),
            ([own, "x"], 200),
            (None, 403),
            ("x", 403),
        ):
            client = api.client(provider.token(scope=scope, account=account))
            assert (await client.get(f"/v1/user/{own}")).status_code == status, account
            assert (await client.get(f"/v1/user/{other}")).status_code == 403
            assert (await client.get("/v1/key")).status_code == 403


async def test_a_provider_that_can_not_be_asked_lets_keys_in(own_ledger: Database) -> None:
    provider = Provider()
    provider.url = "http://127.0.0.1:1/jwks"
    async with serving(own_ledger, **of(provider, admin_key=ADMIN_KEY)) as api:
        assert (await api.admin.get("/v1/user")).status_code == 200
        assert (await api.client(provider.token()).get("/v1/user")).status_code == 401
