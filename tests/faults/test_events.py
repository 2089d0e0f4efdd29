"""The live stream while the database is killed and restarted."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from uuid import uuid4

import httpx

from harness.events.subscribers import Subscriber
from harness.postgresql.sample_ledger import create_users
from harness.program.service import run_service_process
from tests.faults.test_database import own_server

__all__ = ["own_server"]

from saldo.store.embedded import EmbeddedServer


async def test_live_streams_continue_after_the_database_was_killed(
    own_server: EmbeddedServer,
    tmp_path: Path,
) -> None:
    users = create_users(own_server.service_role_url, 3)
    urls = {
        "SALDO_DATABASE_URL": own_server.service_role_url,
        "SALDO_DATABASE_OWNER_URL": own_server.owner_role_url,
        "SALDO_EVENTS_HEARTBEAT_SECONDS": "0.2",
        "SALDO_REQUEST_DEADLINE_SECONDS": "60",
    }
    with run_service_process(tmp_path, **urls) as running:
        async with (
            httpx.AsyncClient(base_url=running.url, timeout=60) as client,
            Subscriber(running.url) as everything,
            Subscriber(running.url, f"user_id={users[0]}") as one,
        ):

            async def post() -> set[str]:
                uuids = [str(uuid4()) for _ in users]
                items = [
                    {"uuid": uuid, "type": "DEPOSIT", "amount": "1", "user_id": user}
                    for uuid, user in zip(uuids, users, strict=True)
                ]
                answer = await client.post("/v1/transactions", json=items)
                assert [item["status"] for item in answer.json()] == [200] * 3
                return set(uuids)

            for stream in (everything, one):
                await stream.block()
                await stream.block()
            posted = await post()
            seen = await everything.take(3) + await one.take(1)
            assert {event["id"] for event in seen} == posted
            assert own_server.pid is not None
            os.kill(own_server.pid, signal.SIGKILL)
            # The service restarts its embedded server. Heartbeats arrive meanwhile.
            for stream in (everything, one):
                while (await stream.block()).data is not None:
                    pass
            posted = await post()
            seen = await everything.take(3) + await one.take(1)
            assert {event["id"] for event in seen} == posted
            assert [event["data"]["number"] for event in seen] == [2] * 4
