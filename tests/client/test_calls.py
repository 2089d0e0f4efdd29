"""Every call of the API, against a real service."""

from __future__ import annotations

import inspect
import json
import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from pathlib import Path
from typing import assert_type
from uuid import uuid4

import pytest

import saldo
import saldo.client
from harness.program.service import ServiceProcess, run_service_process
from saldo.client import (
    AsyncClient,
    Client,
    ConflictError,
    Deposit,
    Event,
    ForbiddenError,
    InvalidError,
    NotFoundError,
    Pages,
    Posted,
    Proof,
    SaldoError,
    Transaction,
    TransactionData,
    UnauthenticatedError,
    User,
    UserData,
    Webhook,
    endpoints,
)
from saldo.client.endpoints import Call, Listing
from saldo.client.payloads import TransactionRequest
from saldo.client.proof import InvalidProofError, verify_proof
from saldo.client.synchronous.concurrency import Future


@pytest.fixture
def client(shared_service: ServiceProcess) -> Iterator[Client]:
    with Client(shared_service.url) as client:
        yield client


def list_calls() -> set[tuple[str, str]]:
    """Return the method and path of every call in `saldo.client.endpoints`, with 1 or a uuid for parameters."""
    found = {("GET", "/v1/events")}
    for name, function in inspect.getmembers(endpoints, inspect.isfunction):
        if (
            name.startswith("_")
            or function.__module__ != endpoints.__name__
            or name == "build_events_query"
        ):
            continue
        given = [_argument(each) for each in inspect.signature(function).parameters.values()]
        made = function(*given)
        if isinstance(made, Listing):
            made = made.build_page_call(None)
        assert isinstance(made, Call)
        found.add((made.method, re.sub(r"/([0-9]+|[0-9a-f-]{36})(?=/|$)", "/{}", made.path)))
    return found


def _argument(parameter: inspect.Parameter) -> object:
    return {
        "user_id": 1,
        "webhook_id": 1,
        "key_id": 1,
        "uuid": uuid4(),
        "request": Deposit(1, 1),
        "requests": [Deposit(1, 1)],
        "name": "x",
        "url": "https://example.com",
        "scopes": ["read"],
        "changes": {"enabled": True},
        "check": "ready",
    }.get(parameter.name)


def test_every_operation_of_the_api_has_a_call(client: Client) -> None:
    paths = client.openapi()["paths"]
    offered = {
        (method.upper(), re.sub(r"\{[^}]*\}", "{}", path))
        for path, operations in paths.items()
        for method in operations
        if method in {"get", "post", "patch", "delete", "put"}
    }
    ready = {("GET", f"/healthz/{what}") for what in ("live", "startup")}
    openapi = {("GET", "/openapi.json")}
    assert list_calls() | ready == offered | openapi


def test_read_the_log_of_a_shard(client: Client) -> None:
    user = client.create_user(f"of a log {uuid4()}")
    posted = client.deposit(user.id, 5)
    page = client.transaction_log(user.id % 64)
    assert posted in page.items
    assert client.transaction_log(user.id % 64, after=page.reached).items == ()


def test_webhooks(client: Client) -> None:
    made = client.create_webhook(
        "https://example.com/saldo", event_types=["saldo.transaction.posted"], user_ids=[1, 2]
    )
    assert made.secret
    assert (made.event_types, made.user_ids) == (("saldo.transaction.posted",), (1, 2))
    assert client.webhook(made.id).secret is None
    assert [each.id for each in client.webhooks(limit=1)] == [made.id]
    changed = client.change_webhook(made.id, user_ids=None, enabled=False)
    assert (changed.user_ids, changed.enabled) == (None, False)
    assert changed.event_types == made.event_types
    assert list(client.deliveries(made.id, state="dead")) == []
    assert client.replay_deliveries(made.id) == 0
    assert client.delete_webhook(made.id).id == made.id
    with pytest.raises(NotFoundError) as gone:
        client.webhook(made.id)
    assert gone.value.code == "webhook_not_found"
    with pytest.raises(InvalidError) as wrong:
        client.create_webhook("nowhere")
    assert [fault.field for fault in wrong.value.faults] == ["url"]


def test_keys(tmp_path: Path) -> None:
    with run_service_process(tmp_path) as running:
        with Client(running.url) as open_to_all:
            admin = open_to_all.create_key("admin", scopes=["admin"])
            with pytest.raises(UnauthenticatedError) as nobody:
                open_to_all.create_user("user-7341")
            assert nobody.value.request_id
        with Client(running.url, key=admin.key) as client:
            user = client.create_user("user-7341")
            shop = client.create_key(
                *("shop",),
                scopes=["read"],
                user_ids=[user.id],
                expires_at=datetime.now(UTC) + timedelta(days=1),
            )
            with Client(running.url, key=shop.key) as reading:
                assert reading.user(user.id) == user
                with pytest.raises(ForbiddenError):
                    reading.deposit(user.id, 1)
                with reading.writer() as writer:
                    refused = writer.deposit(user.id, 1)
                assert isinstance(refused.exception(), ForbiddenError)
            rotated = client.rotate_key(shop.id, overlap_seconds=0)
            assert client.key(shop.id).replaced_by == rotated.id
            with pytest.raises(ConflictError) as replaced:
                client.rotate_key(shop.id)
            assert replaced.value.code == "key_not_valid"
            assert not client.revoke_key(rotated.id).valid
            names = [key.name for key in iter(client.keys())]
            assert names == ["admin", "shop", "shop"]
            assert "saldo_http_requests" in client.metrics()


def test_proof_of_a_transaction(client: Client) -> None:
    user = client.create_user(str(uuid4()))
    posted = client.deposit(user.id, "12.34")
    proof = client.proof(posted.uuid)
    assert (proof.entry.amount, proof.entry.uuid) == (1234, posted.uuid)
    kept = client.seals()
    chain = client.seals(shard=proof.entry.shard, after=proof.seal.last_seq)
    assert "covered by the saved seal" in proof.verify(kept=(kept,), chain=(chain,))
    with pytest.raises(InvalidProofError, match="without a saved seal"):
        proof.verify()
    assert "the proof may be forged" in proof.verify(self_consistent=True)
    # Copies that were stored as JSON work as well.
    stored = [json.loads(json.dumps(each.document)) for each in (proof, kept, chain)]
    assert verify_proof(stored[0], kept=stored[1:2], chain=stored[2:])
    assert not isinstance(proof.entry.timestamp, str)


def test_events_from_the_start_and_live(client: Client) -> None:
    user = client.create_user(str(uuid4()))
    stream = client.events(user_ids=[user.id], start="start")
    events = iter(stream)
    opening = next(events)
    assert isinstance(opening.data, UserData)
    assert opening.data.name == user.name
    posted = client.deposit(user.id, 5)
    event = next(events)
    assert isinstance(event.data, TransactionData)
    assert (event.type, event.data.uuid) == ("saldo.transaction.posted", posted.uuid)
    assert (event.id, event.user_id, event.data.balance) == (
        *(str(posted.uuid), user.id),
        Decimal(5),
    )
    second = client.deposit(user.id, 6)
    for resumed in (client.events(user_ids=[user.id], start=event.position), stream):
        following = next(iter(resumed))
        # A client that resumes by hand may get an event at or before its position again.
        while following.id in {opening.id, event.id}:
            following = next(iter(resumed))
        assert following.id == str(second.uuid)


def test_invalid_event_parameters(client: Client) -> None:
    with pytest.raises(InvalidError) as wrong:
        next(iter(client.events(start="stray")))
    assert [fault.field for fault in wrong.value.faults] == ["from"]


async def test_asyncio_client(shared_service: ServiceProcess) -> None:
    async with AsyncClient(shared_service.url) as client:
        user = await client.create_user(str(uuid4()))
        posted = await client.post_many([Deposit(user.id, 1), Deposit(user.id, 2)])
        assert all(isinstance(each, Posted) for each in posted)
        assert await client.health() == "ok"
        pages = [page async for page in client.transactions(user.id, limit=1).pages()]
        assert [item.number for page in pages for item in page.items] == [2, 1]
        stream = client.events(user_ids=[user.id], start="start")
        numbers = []
        async for event in stream:
            numbers.append(event.data.number)
            if event.data.number == 2:
                break
        assert numbers == [0, 1, 2]


def test_public_names_exist_and_are_sorted() -> None:
    for module in (saldo, saldo.client):
        names = module.__all__
        assert all(getattr(module, name) is not None for name in names)
        constants = [name for name in names if name.isupper()]
        assert [name for name in names if not name.isupper() and name[0] != "_"] == sorted(
            name for name in names if not name.isupper() and name[0] != "_"
        )
        assert names[: len(constants)] == constants
    assert saldo.Client is Client


def test_every_error_is_exported() -> None:
    found = [SaldoError]
    for class_ in found:
        found += class_.__subclasses__()
    assert len(found) > 10
    for class_ in found:
        assert getattr(saldo, class_.__name__) is class_
        assert class_.__name__ in {*saldo.__all__} & {*saldo.client.__all__}


def types_are_known(client: Client, request: TransactionRequest) -> None:
    """Check the types of results. mypy reads this function, and nothing calls it."""
    assert_type(client.user(1), User)
    assert_type(client.users(), Pages[User])
    assert_type(client.post(request), Transaction)
    assert_type(client.proof(uuid4()), Proof)
    assert_type(list(client.webhooks()), list[Webhook])
    assert_type(next(iter(client.events())), Event)
    assert_type(client.writer().deposit(1, 1), Future[Posted])


async def types_are_known_for_asyncio(client: AsyncClient) -> None:
    assert_type(await client.user(1), User)
    assert_type([user async for user in client.users()], list[User])
    assert_type(await (await client.writer().deposit(1, 1)), Posted)
