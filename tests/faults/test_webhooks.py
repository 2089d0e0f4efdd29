"""Webhooks while processes are killed: every event arrives in order and with its own id."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import uuid4

import httpx

from harness.events.webhook_receiver import (
    Behaviour,
    ReceivedRequest,
    Receiver,
    build_response,
    run_receiver,
)
from harness.program.service import ServiceProcess, run_service_process

SETTINGS = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_ALLOW_HTTP": "true",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.05",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MAX": "0.2",
    "SALDO_RELAY_LEASE_SECONDS": "1",
}
SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"


def _relay_of(running: ServiceProcess) -> int:
    """Return the process id of the service's relay."""
    pid = running.process.pid
    children = Path(f"/proc/{pid}/task").glob("*/children")
    for child in " ".join(each.read_text() for each in children).split():
        if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
            return int(child)
    raise AssertionError("no relay")


async def _post(client: httpx.AsyncClient, user_ids: list[int], rounds: int) -> set[str]:
    uuids = set()
    for user_id in user_ids * rounds:
        body = {"uuid": str(uuid4()), "type": "DEPOSIT", "amount": "1", "user_id": user_id}
        assert (await client.post("/v1/transaction", json=body)).status_code == 200
        uuids.add(str(body["uuid"]))
    return uuids


def _ids(received: list[ReceivedRequest]) -> set[str]:
    return {each.headers["webhook-id"] for each in received}


async def test_every_event_arrives_although_processes_are_killed(tmp_path: Path) -> None:
    async with run_receiver() as receiver:
        receiver.behave = _sometimes(receiver)
        with run_service_process(tmp_path, **SETTINGS) as running:
            async with httpx.AsyncClient(base_url=running.url) as client:
                user_ids = [
                    (await client.post("/v1/user", json={"name": name})).json()["id"]
                    for name in ("a", "b", "c")
                ]
                subscription = {"url": receiver.url, "user_ids": user_ids, "secret": SECRET}
                assert (await client.post("/v1/webhook", json=subscription)).status_code == 201
                uuids = await _post(client, user_ids, 10)
                await receiver.wait_for_count(5)
                os.kill(_relay_of(running), signal.SIGKILL)
                uuids |= await _post(client, user_ids, 10)
                await receiver.wait_for(lambda received: len(_ids(received)) > 30)
            running.end(signal.SIGKILL)
        with run_service_process(tmp_path, **SETTINGS) as running:
            async with httpx.AsyncClient(base_url=running.url) as client:
                uuids |= await _post(client, user_ids, 5)
                await receiver.wait_for(lambda received: _ids(received) >= uuids)
    assert _ids(receiver.received) == uuids
    for user_id in user_ids:
        numbers = [each.number for each in receiver.received if each.user_id == user_id]
        # Repeated events are those in progress when the process was killed, and those that failed.
        assert [*dict.fromkeys(numbers)] == [*range(1, 26)]


def _sometimes(receiver: Receiver) -> Behaviour:
    """Return a behaviour that fails every seventh request."""

    async def behave(_: ReceivedRequest) -> bytes:
        return build_response(503 if len(receiver.received) % 7 == 0 else 200)

    return behave
