"""Proofs and seals over HTTP: every answer matches the document."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any
from uuid import uuid4

import httpx
import psycopg
import pytest

from saldo.background.seal_worker import Sealer
from saldo.background.throttle import PostingActivity
from saldo.client.proof import verify_proof
from saldo.store.connections.connection import open_pool
from saldo.store.embedded import EmbeddedServer
from saldo.store.seals import SealStore


@pytest.fixture
async def seals(database_url: str) -> AsyncIterator[SealStore]:
    pool = await open_pool(database_url, connections=2, statement_timeout_seconds=30)
    yield SealStore(pool)
    pool.terminate()


async def seal_all(seals: SealStore) -> None:
    sealer = Sealer(seals, PostingActivity(is_recorded=True))
    while await seals.find_unsealed_shards():
        await sealer.run_pass()


async def create_user(api: httpx.AsyncClient) -> int:
    return int((await api.post("/v1/user", json={"name": str(uuid4())})).json()["id"])


async def deposit(api: httpx.AsyncClient, user_id: int) -> str:
    body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1.50", "user_id": user_id}
    assert (await api.post("/v1/transaction", json=body)).status_code == 200
    return body["uuid"]  # type: ignore[return-value]


async def test_proof_is_available_once_the_transaction_is_sealed(
    api: httpx.AsyncClient, seals: SealStore
) -> None:
    user_id = await create_user(api)
    uuid = await deposit(api, user_id)
    answer = await api.get(f"/v1/proof/{uuid}")
    assert answer.status_code == 409
    assert answer.json()["code"] == "not_sealed_yet"
    assert answer.headers["retry-after"] == "1"
    await seal_all(seals)
    answer = await api.get(f"/v1/proof/{uuid.upper().replace('-', '')}")
    assert answer.status_code == 200
    assert answer.json()["entry"]["uuid"] == uuid
    assert verify_proof(answer.json(), kept=[(await api.get("/v1/seals")).json()])
    # The shard has a seal, but none over the next entry yet.
    answer = await api.get(f"/v1/proof/{await deposit(api, user_id)}")
    assert answer.json()["code"] == "not_sealed_yet"


@pytest.mark.parametrize(
    ("path", "status", "code"),
    [
        ("/v1/proof/64cd6e73-1dd6-43e5-8632-8aaa1dd3404d", 404, "transaction_not_found"),
        ("/v1/proof/1", 422, "invalid"),
        ("/v1/proof/64cd6e73-1dd6-43e5-8632-8aaa1dd3404d?shard=1", 422, "invalid"),
        ("/v1/seals?shard=64", 422, "invalid"),
        ("/v1/seals?shard=-1", 422, "invalid"),
        ("/v1/seals?shard=", 422, "invalid"),
        ("/v1/seals?shard=1&after=x", 422, "invalid"),
        ("/v1/seals?shard=1&limit=0", 422, "invalid"),
        ("/v1/seals?after=1", 422, "invalid"),
        ("/v1/seals?limit=1", 422, "invalid"),
        ("/v1/seals?user_id=1", 422, "invalid"),
    ],
)
async def test_invalid_proof_requests_are_rejected(
    api: httpx.AsyncClient, path: str, status: int, code: str
) -> None:
    answer = await api.get(path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)


async def test_seals_are_listed_page_by_page(api: httpx.AsyncClient, seals: SealStore) -> None:
    user_id = await create_user(api)
    shard = user_id % 64
    for _ in range(5):
        await deposit(api, user_id)
        await seal_all(seals)
    whole = (await api.get(f"/v1/seals?shard={shard}")).json()
    assert whole["next_after"] is None
    pages: list[dict[str, Any]] = []
    after: int | None = 0
    while after is not None:
        page = (await api.get(f"/v1/seals?shard={shard}&after={after}&limit=2")).json()
        pages += page["items"]
        after = page["next_after"]
    assert pages == whole["items"]
    newest = (await api.get("/v1/seals")).json()
    assert pages[-1] in newest["items"]
    assert [each["shard"] for each in newest["items"]] == sorted(
        {each["shard"] for each in newest["items"]}
    )
    past = await api.get(f"/v1/seals?shard={shard}&after={2**63 - 1}")
    assert past.json() == {"items": [], "next_after": None}
    beyond = await api.get(f"/v1/seals?shard={shard}&after={2**63}")
    assert beyond.json()["errors"] == [
        {"field": "after", "message": f"must be at most {2**63 - 1}"}
    ]


async def test_altered_log_gives_no_proof(
    api: httpx.AsyncClient, seals: SealStore, embedded_server: EmbeddedServer, database_url: str
) -> None:
    if database_url != embedded_server.service_role_url:
        pytest.skip("needs the superuser of the database")
    user_id = await create_user(api)
    uuids = [await deposit(api, user_id) for _ in range(2)]
    await seal_all(seals)
    change = "UPDATE saldo.transactions SET recorded_at = recorded_at + %s * interval '1 us' WHERE uuid = %s"
    with psycopg.connect(embedded_server.ledger_url, autocommit=True) as superuser:
        superuser.execute("SET session_replication_role = replica")
        superuser.execute(change, (1, uuids[0]))
        try:
            for uuid in uuids:
                answer = await api.get(f"/v1/proof/{uuid}")
                assert (answer.status_code, answer.json()["code"]) == (500, "seal_broken")
                assert f"of shard {user_id % 64}" in answer.json()["detail"]
        finally:
            superuser.execute(change, (-1, uuids[0]))
    assert (await api.get(f"/v1/proof/{uuids[0]}")).status_code == 200
