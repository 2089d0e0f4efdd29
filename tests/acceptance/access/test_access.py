"""Authentication and access control: keys, tokens and rate limits, on every route of the OpenAPI document."""

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

from harness.openapi_document import Document
from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.auth import bearer_tokens
from saldo.auth.authenticator import PROXY_HEADERS
from saldo.auth.grants import Scope
from saldo.bootstrap.service import run_service
from saldo.http.asgi import AsgiApp
from saldo.http.authorization import find_required_scope
from saldo.ledger.model import SHARDS, compute_shard
from tests.acceptance.access.provider import AUDIENCE, ISSUER, Provider, run_provider

ADMIN_KEY = "an-admin-key-of-the-operators-own-0123456789"
OPEN = {"/healthz/live", "/healthz/ready", "/healthz/startup"}


class Api:
    """Clients of one application, each with its own key; every answer is checked against the document."""

    def __init__(self, front: AsgiApp, document: Document) -> None:
        self.front = front
        self.document = document
        self._number = 0

    def client(
        self, key: str | None = None, *, address: str = "127.0.0.1", **headers: str
    ) -> httpx.AsyncClient:
        """Return a client that sends this key with every request."""
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
        """A client with all permissions."""
        return self.client(ADMIN_KEY)

    async def key(self, *scopes: str, **fields: Any) -> dict[str, Any]:
        """Create a key and return its fields, with the secret."""
        self._number += 1
        asked = {"name": f"key {self._number}", "scopes": scopes, **fields}
        created = await self.admin.post("/v1/key", json=asked)
        assert created.status_code == 201, created.text
        found: dict[str, Any] = created.json()
        return found

    async def user(self) -> int:
        """Create a user and return its id."""
        created = await self.admin.post("/v1/user", json={"name": f"user {uuid4()}"})
        return int(created.json()["id"])


@asynccontextmanager
async def serve(ledger: Database, **settings: object) -> AsyncIterator[Api]:
    own = {"admin_key": ADMIN_KEY, "keys_refresh_seconds": 60.0} | settings
    async with run_service(
        create_settings(ledger.service_role_url, **own), ledger.service_role_url
    ) as front:
        transport = httpx.ASGITransport(app=front)  # type: ignore[arg-type]
        async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
            document = Document((await client.get("/openapi.json")).json())
        yield Api(front, document)


@pytest.fixture
async def api(own_ledger: Database) -> AsyncIterator[Api]:
    async with serve(own_ledger) as served:
        yield served


def deposit(user_id: int, **fields: Any) -> dict[str, Any]:
    return {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1.00", "user_id": user_id} | fields


def code(answer: httpx.Response) -> tuple[int, str | None]:
    return answer.status_code, answer.json().get("code")


async def test_every_route_requires_a_valid_key_with_its_scope(api: Api) -> None:
    keys = {scope: (await api.key(scope))["key"] for scope in Scope}
    revoked = await api.key("admin")
    assert (await api.admin.delete(f"/v1/key/{revoked['id']}")).json()["valid"] is False
    guarded = 0
    for method, template, operation in api.document.operations:
        path = template.replace("{user_id}", "1").replace("{uuid}", str(uuid4()))
        path = path.replace("{webhook_id}", "1").replace("{key_id}", "999")
        needed = find_required_scope(method.upper(), path)
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
                continue  # the stream does not end
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
async def test_no_spelling_of_a_path_bypasses_authentication(api: Api, path: str) -> None:
    sent = httpx.Request("GET", "http://localhost/")
    sent.url = sent.url.copy_with(raw_path=path.encode())
    sent.headers["host"] = "localhost"
    answer = await api.client().send(sent)
    assert answer.status_code in {401, 404}, answer.text
    assert "items" not in answer.text and "saldo_http" not in answer.text


async def test_key_limited_to_users_accesses_only_these_users(api: Api) -> None:
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
    # Seals reveal how much is posted, so a key may read only the seals of the shards of its users.
    assert code(await client.get("/v1/seals")) == (403, "forbidden")
    assert (await client.get(f"/v1/seals?shard={compute_shard(own)}")).status_code == 200
    for shard in {*range(SHARDS)} - {compute_shard(own)}:
        assert code(await client.get(f"/v1/seals?shard={shard}")) == (403, "forbidden")

    lines = [deposit(own), deposit(other), deposit(own)]
    array = await client.post("/v1/transactions", json=lines)
    streamed = await client.post(
        "/v1/transactions",
        content="".join(json.dumps(deposit(each["user_id"])) + "\n" for each in lines),
        headers={"content-type": "application/x-ndjson"},
    )
    outcomes = [array.json(), [json.loads(line) for line in streamed.text.splitlines()]]
    for lines in outcomes:
        assert [line["status"] for line in lines] == [200, 403, 200]
    atomic = await client.post("/v1/transactions?atomic=true", json=[deposit(own), deposit(other)])
    assert (atomic.status_code, atomic.json()["item"]) == (403, 1)
    assert (await client.get(f"/v1/user/{own}/balance")).json()["balance"] == "5.00"
    assert (await api.admin.get(f"/v1/user/{other}/balance")).json()["balance"] == "1.00"


async def test_conflict_reveals_nothing_of_a_transaction_that_the_key_may_not_read(
    api: Api,
) -> None:
    """Compare the answers byte by byte, for every recorded transaction and every guess at its content."""
    own, other = await api.user(), await api.user()
    recorded = [
        deposit(other),
        deposit(other, amount="2.00", timestamp="2024-01-01T00:00:00Z"),
        {**deposit(other), "type": "WITHDRAW", "amount": "1.50"},
    ]
    for each in recorded:
        await api.admin.post("/v1/transaction", json=each)
    keys = {
        "all": await api.key("read", "write"),
        "write": await api.key("write"),
        "limited": await api.key("read", "write", user_ids=[own]),
        "limited write": await api.key("write", user_ids=[own]),
    }
    # Such guesses would reveal amount, type, time and owner, if the answers told how far off they are.
    guesses = [
        {"amount": "1.00", "user_id": own},
        {"amount": "7.00", "user_id": own},
        {"amount": "2.00", "user_id": own, "timestamp": "2024-01-01T00:00:00Z"},
        {"amount": "1.50", "user_id": own, "type": "WITHDRAW"},
        {"amount": "9.00", "user_id": other},
    ]
    for name, key in keys.items():
        client, mine = api.client(key["key"]), "limited" in name
        told: dict[str, set[str]] = {}
        for each in recorded:
            for guess in guesses[:-1] if mine else guesses:
                asked = {"uuid": each["uuid"], "type": "DEPOSIT"} | guess
                for way, answer in (await _posted_every_way(client, asked)).items():
                    assert answer["code"] == "uuid_conflict"
                    told.setdefault(way, set()).add(_without_names(answer, each["uuid"]))
        assert all((len(answers) > 1) == (name == "all") for answers in told.values()), (name, told)
        for answers in told.values() if name != "all" else ():
            assert json.loads(*answers).get("differing_fields", ["uuid"]) == ["uuid"]


async def _posted_every_way(client: httpx.AsyncClient, asked: dict[str, Any]) -> dict[str, Any]:
    """Return the answers to a transaction sent alone, in an array, in a stream, and in an atomic array."""
    ndjson = {"content-type": "application/x-ndjson"}
    path, line = "/v1/transactions", json.dumps(asked)
    return {
        "single": (await client.post("/v1/transaction", json=asked)).json(),
        "array": (await client.post(path, json=[asked])).json()[0],
        "stream": (await client.post(path, content=line, headers=ndjson)).json(),
        "atomic": (await client.post(f"{path}?atomic=true", json=[asked])).json(),
    }


def _without_names(answer: dict[str, Any], uuid: str) -> str:
    """Return an answer without the parts that differ between requests."""
    shown = {name: value for name, value in answer.items() if name != "request_id"}
    return json.dumps(shown).replace(uuid, "")


async def test_a_key_may_be_limited_to_networks(
    own_ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    async with serve(own_ledger, trusted_proxies="10.0.0.0/8") as api:
        key = (await api.key("read", networks=["192.0.2.0/24", "2001:db8::/32"]))["key"]

        async def get_status(address: str, **headers: str) -> int:
            client = api.client(key, address=address, **headers)
            # Two requests, because the second one is authenticated from the cache.
            statuses = {(await client.get("/v1/user")).status_code for _ in range(2)}
            return statuses.pop() if len(statuses) == 1 else 0

        forwarded = "x-forwarded-for"
        assert await get_status("192.0.2.7") == 200
        assert await get_status("2001:db8::7") == 200
        assert await get_status("::ffff:192.0.2.7") == 200
        # The answer is not 403: whoever found a key must not learn that it is valid from another address.
        caplog.set_level("WARNING")
        assert await get_status("198.51.100.7") == 401
        assert await get_status("10.0.0.1") == 401
        unknown = await api.client("saldo_" + "x" * 43).get("/v1/user")
        foreign = await api.client(key, address="198.51.100.7").get("/v1/user")
        assert foreign.json()["detail"] == unknown.json()["detail"]
        told = [line for line in caplog.messages if "outside its networks" in line]
        assert told == ["key 1 was used from 198.51.100.7, which is outside its networks"]
        assert await get_status("10.0.0.1", **{forwarded: "192.0.2.7"}) == 200
        assert await get_status("10.0.0.1", **{forwarded: "192.0.2.7, 198.51.100.7"}) == 401
        assert (
            await get_status("10.0.0.1", **{forwarded: "198.51.100.7, 192.0.2.7, 10.0.0.2"}) == 200
        )
        assert await get_status("10.0.0.1", **{forwarded: "nonsense"}) == 401
        assert await get_status("198.51.100.7", **{forwarded: "192.0.2.7"}) == 401

        # Several header lines are one list, whose last address counts.
        for lines, status in (
            (["192.0.2.7", "198.51.100.7"], 401),
            (["198.51.100.7", "192.0.2.7"], 200),
            (["192.0.2.7", "198.51.100.7", "10.0.0.2"], 401),
        ):
            headers = [(forwarded, line) for line in lines]
            answer = await api.client(key, address="10.0.0.1").get("/v1/user", headers=headers)
            assert answer.status_code == status, lines


async def test_a_key_expires(api: Api) -> None:
    soon = datetime.now(UTC) + timedelta(hours=1)
    key = await api.key("read", expires_at=soon.isoformat())
    client = api.client(key["key"])
    assert (await client.get("/v1/user")).status_code == 200
    (grant,) = (
        grant
        for grant in api.front.service.authenticator._cached_grants.values()
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
    await api.front.service.key_cache.refresh_coalesced()
    assert (await api.client(new["key"]).get("/v1/user")).status_code == 401
    assert (await api.client(newest["key"]).get("/v1/user")).status_code == 200


async def test_invalid_key_request_is_rejected_with_every_fault(api: Api) -> None:
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


async def test_number_of_valid_keys_is_limited(own_ledger: Database) -> None:
    async with serve(own_ledger, keys_max=2) as api:
        first = await api.key("read")
        await api.key("read")
        asked = {"name": "x", "scopes": ["read"]}
        assert code(await api.admin.post("/v1/key", json=asked)) == (409, "too_many_keys")
        await api.admin.delete(f"/v1/key/{first['id']}")
        assert (await api.admin.post("/v1/key", json=asked)).status_code == 201


async def test_other_processes_learn_of_new_and_revoked_keys(own_ledger: Database) -> None:
    async with serve(own_ledger) as here, serve(own_ledger) as there:
        key = await here.key("read")
        assert (await there.client(key["key"]).get("/v1/user")).status_code == 200
        await here.admin.delete(f"/v1/key/{key['id']}")
        assert (await here.client(key["key"]).get("/v1/user")).status_code == 401
        await there.front.service.key_cache.refresh_coalesced()
        assert (await there.client(key["key"]).get("/v1/user")).status_code == 401


async def test_unknown_keys_cause_few_database_queries(api: Api) -> None:
    asked = 0
    version = api.front.service.keys.read_version

    async def count_read() -> int:
        nonlocal asked
        asked += 1
        return await version()

    api.front.service.key_cache._keys.read_version = count_read  # type: ignore[method-assign]
    made_up = [api.client(f"saldo_{number:043}").get("/v1/user") for number in range(200)]
    assert {answer.status_code for answer in await asyncio.gather(*made_up)} == {401}
    assert 1 <= asked <= 3


async def test_only_the_hash_of_a_key_is_stored(
    api: Api, own_ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    key = (await api.key("read"))["key"]
    await api.client(key).get("/v1/user")
    with psycopg.connect(own_ledger.owner_role_url) as connection:
        ((row,),) = connection.execute("SELECT to_json(k)::text FROM saldo.keys AS k").fetchall()
    assert key not in row and key.removeprefix("saldo_") not in row
    assert key not in caplog.text and ADMIN_KEY not in caplog.text
    assert "was made by SALDO_ADMIN_KEY" in caplog.text


async def test_service_without_keys_accepts_only_this_machine(own_ledger: Database) -> None:
    async with serve(own_ledger, admin_key=None) as api:
        for host in ("localhost", "localhost:8000", "127.0.0.1:8000", "[::1]:8000"):
            assert (await api.client(host=host).get("/v1/user")).status_code == 200
        # These headers are what a page in a browser on this machine would send.
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
        # Images and scripts of a page have no Origin. A link that the user follows is not a request of the page.
        for site, mode, status in (
            *(
                ("cross-site", "no-cors", 403),
                ("same-site", "cors", 403),
                ("cross-site", None, 403),
            ),
            *(
                ("cross-site", "navigate", 200),
                ("same-origin", "cors", 200),
                ("none", "navigate", 200),
            ),
        ):
            fetched = {"host": "localhost", "sec-fetch-site": site} | (
                {} if mode is None else {"sec-fetch-mode": mode}
            )
            assert (await api.client(**fetched).get("/v1/user")).status_code == status, fetched

        # The first key ends anonymous access, also when no key is valid any more.
        created = await api.client().post("/v1/key", json={"name": "x", "scopes": ["admin"]})
        await api.front.service.key_cache.refresh_coalesced()
        assert (await api.client().get("/v1/user")).status_code == 401
        path = f"/v1/key/{created.json()['id']}"
        assert (await api.client(created.json()["key"]).delete(path)).status_code == 200
        assert (await api.client().get("/v1/user")).status_code == 401


@pytest.mark.parametrize("path", ["/v1/user", "/console/users"])
async def test_service_without_keys_rejects_proxies_and_other_machines(
    own_ledger: Database, path: str
) -> None:
    async with serve(own_ledger, admin_key=None) as api:

        async def get_status(
            address: str = "127.0.0.1", version: str = "1.1", **headers: str
        ) -> int:
            async def app(scope: Any, receive: Any, send: Any) -> None:
                await api.front(scope | {"http_version": version}, receive, send)

            transport = httpx.ASGITransport(app=app, client=(address, 1))
            async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as one:
                return (await one.get(path, headers=headers)).status_code

        for local in ("127.0.0.1", "127.8.8.8", "::1"):
            assert await get_status(local) == 200, local
        # The second request uses the cached addresses of this machine.
        assert [await get_status("203.0.113.9") for _ in range(2)] == [403] * 2
        assert await get_status("::ffff:127.0.0.1") == 200
        assert await get_status("::ffff:203.0.113.9") == 403
        for name in sorted(PROXY_HEADERS):
            assert await get_status(**{name.decode(): "203.0.113.9"}) == 403, name
        assert await get_status(version="1.0") == 403
        assert await get_status() == 200


async def test_service_requires_keys_for_ever_after_the_first_key(own_ledger: Database) -> None:
    """Delete all rows of the table of keys, as a failover, a restore or a person may do."""

    def change(statement: str) -> None:
        with psycopg.connect(own_ledger.owner_role_url, autocommit=True) as connection:
            connection.execute(statement.encode())

    async with serve(own_ledger, admin_key=None) as api:
        assert (await api.client().get("/v1/user")).status_code == 200
        await api.client().post("/v1/key", json={"name": "x", "scopes": ["read"]})
        await api.front.service.key_cache.refresh_coalesced()
        change("DELETE FROM saldo.keys")
        # A process that starts now finds that there once was a key.
        async with serve(own_ledger, admin_key=None) as other:
            assert (await other.client().get("/v1/user")).status_code == 401
        change("UPDATE saldo.keys_version SET version = 0")
        await api.front.service.key_cache.refresh_coalesced()
        assert (await api.client().get("/v1/user")).status_code == 401


async def test_requests_for_unknown_keys_do_not_enable_authentication(own_ledger: Database) -> None:
    async with serve(own_ledger, admin_key=None) as api:
        client = api.client()
        for number in (1, 2**63, 10**29):
            assert (await client.get(f"/v1/key/{number}")).status_code == 404
            assert (await client.delete(f"/v1/key/{number}")).status_code == 404
            assert code(await client.post(f"/v1/key/{number}/rotate")) == (404, "key_not_found")
        await api.front.service.key_cache.refresh_coalesced()
        assert (await client.get("/v1/user")).status_code == 200
        # The existence of a key ends anonymous access, even after that key is deleted.
        key = (await client.post("/v1/key", json={"name": "x", "scopes": ["admin"]})).json()
        assert (await api.client(key["key"]).delete(f"/v1/key/{key['id']}")).status_code == 200
        assert (await client.get("/v1/user")).status_code == 401


async def test_insecure_service_accepts_only_its_own_host_names_and_origins(
    own_ledger: Database,
) -> None:
    """Send the Host header of a page whose domain resolves to the service (DNS rebinding)."""
    async with serve(own_ledger, admin_key=None, insecure=True, hosts="Saldo.example,saldo") as api:
        for host in ("saldo.example", "saldo:8000", "192.0.2.7:8000", "[2001:db8::1]", "localhost"):
            client = api.client(host=host, address="192.0.2.9", **{"x-forwarded-for": "192.0.2.9"})
            assert (await client.get("/v1/user")).status_code == 200, host
        for host in ("evil.example", "0x7f.1", "saldo.example.evil.example", "[::1", ""):
            refused = await api.client(host=host, address="192.0.2.9").get("/v1/user")
            assert refused.status_code == 403 and "SALDO_HOSTS" in refused.json()["detail"], host
        other = {"host": "saldo.example", "origin": "https://evil.example"}
        assert (await api.client(**other).get("/v1/user")).status_code == 403


async def test_requests_above_the_rate_limit_get_retry_after(own_ledger: Database) -> None:
    async with serve(own_ledger, rate_requests_per_second=0.001, rate_burst=3) as api:
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
    async with serve(
        own_ledger, rate_requests_per_second=0.001, rate_burst=3, rate_debt_seconds_max=86_400
    ) as api:
        key, user_id = await api.key("write"), await api.user()
        client = api.client(key["key"])
        many = [deposit(user_id) for _ in range(10)]
        assert (await client.post("/v1/transactions", json=many)).status_code == 200
        answer = await client.post("/v1/transaction", json=deposit(user_id))
        assert (answer.status_code, int(answer.headers["retry-after"]) > 7000) == (429, True)


async def test_array_does_not_block_later_requests_for_long(own_ledger: Database) -> None:
    async with serve(
        own_ledger, rate_requests_per_second=0.1, rate_burst=3, rate_debt_seconds_max=60
    ) as api:
        key, user_id = await api.key("write"), await api.user()
        client = api.client(key["key"])
        many = [deposit(user_id) for _ in range(10)]
        refused = await client.post("/v1/transactions", json=many)
        assert code(refused) == (422, "invalid")
        assert "at most 9 transactions" in refused.json()["detail"]
        assert (await client.post("/v1/transactions", json=many[:9])).status_code == 200
        answer = await client.post("/v1/transaction", json=deposit(user_id))
        assert (answer.status_code, int(answer.headers["retry-after"]) <= 80) == (429, True)


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
    async with run_provider() as found:
        yield found


def of(provider: Provider, **settings: object) -> dict[str, Any]:
    named = {"jwt_issuer": ISSUER, "jwt_audience": AUDIENCE, "jwt_jwks_url": provider.url}
    return {"admin_key": None, **named, **settings}


async def test_key_with_two_dots_is_not_taken_for_a_token(
    own_ledger: Database, provider: Provider
) -> None:
    key = f"{ADMIN_KEY}.with.dots"
    async with serve(own_ledger, **of(provider, admin_key=key)) as api:
        assert (await api.client(key).get("/v1/user")).status_code == 200
        assert code(await api.client(f"{key}x").get("/v1/user")) == (401, "unauthenticated")


async def test_tokens_are_accepted_with_their_scopes(
    own_ledger: Database, provider: Provider
) -> None:
    async with serve(own_ledger, **of(provider)) as api:
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
        assert (await api.client(late).get("/v1/user")).status_code == 200  # clocks may differ
        assert provider.asked == 1


async def test_forged_and_foreign_tokens_are_rejected(
    own_ledger: Database, provider: Provider
) -> None:
    provider.add("thief", "RS256", provider.keys["rsa"][1], published=False)
    from cryptography.hazmat.primitives.asymmetric import rsa

    thief = rsa.generate_private_key(65537, 2048)
    provider.keys["thief"] = ("RS256", thief)
    now = int(datetime.now(UTC).timestamp())
    async with serve(own_ledger, **of(provider)) as api:
        for what, token in {
            "alg none": provider.make_unsigned_token(),
            "public key as secret": provider.signed_with_the_public_key(),
            "altered claims": provider.make_altered_token(),
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


async def test_new_key_of_the_provider_is_found_and_its_old_key_dropped(
    own_ledger: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    from cryptography.hazmat.primitives.asymmetric import rsa

    async with serve(own_ledger, **of(provider)) as api:
        old = api.client(provider.token("rsa"))
        assert (await old.get("/v1/user")).status_code == 200
        provider.add("new", "RS256", rsa.generate_private_key(65537, 2048))
        new = api.client(provider.token("new"))
        assert (await new.get("/v1/user")).status_code == 401  # the provider was asked a moment ago
        monkeypatch.setattr(bearer_tokens, "REFRESH_INTERVAL_SECONDS_MIN", 0.0)
        assert (await new.get("/v1/user")).status_code == 200
        provider.published.discard("rsa")
        provider.add("newer", "ES256", provider.keys["ec"][1])
        assert (await api.client(provider.token("newer")).get("/v1/user")).status_code == 200
        assert (await old.get("/v1/user")).status_code == 401


async def test_token_can_be_limited_to_users(own_ledger: Database, provider: Provider) -> None:
    given = of(provider, jwt_users_claim="account", jwt_scope_prefix="saldo:")
    async with serve(own_ledger, **given | {"admin_key": ADMIN_KEY}) as api:
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
            if status == 403:
                # A token for no users opens nothing: it gets neither an empty list nor a stream that breaks off.
                for method, template, operation in api.document.operations:
                    path = template.replace("{user_id}", str(own)).replace("{uuid}", str(uuid4()))
                    path = path.replace("{webhook_id}", "1").replace("{key_id}", "1")
                    if operation.get("security") != [{}]:
                        answer = await client.request(method, path)
                        assert answer.status_code == 403, (method, path)


async def test_token_requires_a_subject_an_audience_and_a_limited_lifetime(
    own_ledger: Database, provider: Provider, caplog: pytest.LogCaptureFixture
) -> None:
    now = int(datetime.now(UTC).timestamp())
    given = of(
        provider, jwt_lifetime_seconds_max=3600, rate_requests_per_second=0.001, rate_burst=2
    )
    async with serve(own_ledger, **given) as api:
        assert "SALDO_JWT_SCOPE_PREFIX" in caplog.text
        for what, token, status in (
            ("an access token", provider.token(headers={"typ": "at+jwt"}, sub="a"), 200),
            ("the long form", provider.token(headers={"typ": "application/at+JWT"}, sub="b"), 200),
            ("a log-out", provider.token(headers={"typ": "logout+jwt"}), 401),
            ("another", provider.token(headers={"typ": "dpop+jwt"}), 401),
            ("for long", provider.token(exp=now + 7200), 401),
            ("issued long ago", provider.token(iat=now - 7200, exp=now + 60), 401),
            ("short", provider.token(iat=now - 60, exp=now + 60, sub="c"), 200),
            ("nobody's", provider.token(sub=None), 401),
            ("of an empty name", provider.token(sub=""), 401),
            ("a client's", provider.token(sub=None, client_id="shop"), 200),
            ("another client's", provider.token(sub=None, azp="till"), 200),
        ):
            answer = await api.client(token).get("/v1/user")
            assert answer.status_code == status, (what, answer.text)
        # Each subject has a rate limit of its own, however long its name is.
        for subject in ("x" * 200, "x" * 200 + "y"):
            client = api.client(provider.token(sub=subject))
            assert [(await client.get("/v1/user")).status_code for _ in range(3)] == [200, 200, 429]
    strict = of(provider, jwt_types="at+jwt", jwt_scope_prefix="", jwt_users_claim="account")
    caplog.clear()
    async with serve(own_ledger, **strict) as api:
        assert "SALDO_JWT_SCOPE_PREFIX" not in caplog.text
        token = provider.token(account=1)
        assert (await api.client(token).get("/v1/user/1")).status_code == 401


async def test_unknown_key_ids_cause_few_requests_to_the_provider(
    own_ledger: Database, provider: Provider, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Check that made-up keys cause no flood of requests to the provider, and that known keys outlive its failure."""
    async with serve(own_ledger, **of(provider)) as api:
        good = api.client(provider.token())
        assert (await good.get("/v1/user")).status_code == 200

        async def unknown() -> str:
            made_up = provider.token(headers={"kid": str(uuid4())})
            answer = await api.client(made_up).get("/v1/user")
            assert answer.status_code == 401
            return str(answer.json()["detail"])

        told = await asyncio.gather(*(unknown() for _ in range(100)))
        assert provider.asked == 1
        assert all("is not among the identity provider's keys" in detail for detail in told)
        monkeypatch.setattr(bearer_tokens, "REFRESH_INTERVAL_SECONDS_MIN", 0.0)
        for nonsense in ((500, "no"), (200, "<html>"), (200, '{"keys": []}'), (302, "")):
            provider.instead = nonsense
            assert "can't be fetched at the moment" in await unknown()
            assert (await good.get("/v1/user")).status_code == 200
        provider.instead = None
        assert "is not among" in await unknown()


async def test_only_admin_keys_manage_keys_and_webhooks(api: Api) -> None:
    """Check keys of all other scopes; none may even manage itself."""
    other, user = await api.key("admin"), await api.user()
    hook = (await api.admin.post("/v1/webhook", json={"url": "https://example.com/"})).json()["id"]
    for scopes, fields in (
        (["read"], {}),
        (["write"], {}),
        (["metrics"], {}),
        (["write"], {"user_ids": [user]}),
        (["read", "write"], {"user_ids": [user]}),
    ):
        key = await api.key(*scopes, **fields)
        client = api.client(key["key"])
        made = {"name": "x", "scopes": ["read"]}
        asked: list[tuple[str, str, Any]] = [("GET", "/v1/key", None), ("POST", "/v1/key", made)]
        for number in (key["id"], other["id"]):
            asked += [
                ("GET", f"/v1/key/{number}", None),
                ("DELETE", f"/v1/key/{number}", None),
                ("POST", f"/v1/key/{number}/rotate", None),
            ]
        asked += [
            ("GET", "/v1/webhook", None),
            ("POST", "/v1/webhook", {"url": "https://example.com/"}),
            ("PATCH", f"/v1/webhook/{hook}", {"enabled": False}),
            ("DELETE", f"/v1/webhook/{hook}", None),
            ("POST", f"/v1/webhook/{hook}/deliveries/replay", None),
        ]
        for method, path, body in asked:
            answer = await client.request(method, path, json=body)
            assert code(answer) == (403, "forbidden"), (scopes, fields, method, path)
    assert all(each["valid"] for each in (await api.admin.get("/v1/key")).json()["items"])
    assert (await api.admin.get(f"/v1/webhook/{hook}")).json()["enabled"]


async def test_unavailable_provider_does_not_affect_keys(own_ledger: Database) -> None:
    provider = Provider()
    provider.url = "http://127.0.0.1:1/jwks"
    async with serve(own_ledger, **of(provider, admin_key=ADMIN_KEY)) as api:
        assert (await api.admin.get("/v1/user")).status_code == 200
        assert (await api.client(provider.token()).get("/v1/user")).status_code == 401


async def test_failing_provider_is_logged_without_its_url(
    own_ledger: Database, caplog: pytest.LogCaptureFixture
) -> None:
    """Check that no password or token in the URL is logged: the library's own messages contain the whole URL."""
    secret = "S3CR3T-of-the-url"
    answers = [b"nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\ncontent-length: x\r\n\r\n", b""]
    answers += [b"HTTP/1.1 200 OK\r\ncontent-encoding: gzip\r\ncontent-length: 2\r\n\r\n{}"]
    for answer in answers:

        async def send_answer(
            reader: asyncio.StreamReader, writer: asyncio.StreamWriter, answer: bytes = answer
        ) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            writer.close()

        async with await asyncio.start_server(send_answer, "127.0.0.1", 0) as server:
            provider = Provider()
            port = server.sockets[0].getsockname()[1]
            provider.url = f"http://127.0.0.1:{port}/{secret}?key={secret}"
            async with serve(own_ledger, **of(provider)):
                pass
    provider.url = f"http://127.0.0.1:1/{secret}?key={secret}"
    async with serve(own_ledger, **of(provider)):
        pass
    told = [line for line in caplog.messages if "can't fetch the public keys of" in line]
    assert len(told) == 5
    assert not [line for line in told if secret in line or "\n" in line]


async def test_subscribers_of_one_key_are_limited_and_others_can_subscribe(
    own_ledger: Database,
) -> None:
    async with serve(own_ledger, events_subscribers_of_key_max=2) as api:
        key, other = [(await api.key("read"))["key"] for _ in range(2)]
        leaving = asyncio.Event()

        async def subscribe(key: str) -> int:
            """Follow the stream until the client is to leave, and return the status."""
            status = 0
            begun = asyncio.Event()

            async def receive() -> dict[str, Any]:
                if status == 0 or status == 200:
                    await leaving.wait()
                return {"type": "http.disconnect"}

            async def send(message: dict[str, Any]) -> None:
                nonlocal status
                status = message.get("status", status)
                begun.set()

            headers = [(b"host", b"localhost"), (b"authorization", f"Bearer {key}".encode())]
            scope = {
                "type": "http",
                "method": "GET",
                "path": "/v1/events",
                "raw_path": b"/v1/events",
                "query_string": b"",
                "headers": headers,
                "client": ("127.0.0.1", 1),
                "http_version": "1.1",
            }
            followers.append(asyncio.ensure_future(api.front(scope, receive, send)))
            await begun.wait()
            return status

        followers: list[asyncio.Future[None]] = []
        # All subscribe at once, so that each arrives before the database has answered for the others.
        statuses = await asyncio.gather(*(subscribe(key) for _ in range(3)))
        assert sorted(statuses) == [200, 200, 429]
        assert await subscribe(other) == 200
        leaving.set()
        await asyncio.gather(*followers)
        leaving.clear()
        assert await subscribe(key) == 200
        leaving.set()
        await asyncio.gather(*followers)
