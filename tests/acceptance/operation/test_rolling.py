"""A rolling update: services are replaced one after the other under load, and not one request fails."""

from __future__ import annotations

import asyncio
import os
import signal
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import psycopg

from harness.http_client import Client
from harness.program.service import ServiceProcess
from saldo.store.embedded import EmbeddedServer
from tests.acceptance.operation.balancer import Backend, Balancer, run_balancer

BUSY_CLIENTS = 24
CALM_CLIENTS = 8
"""Number of clients that keep their connection idle between requests."""

CALM_SECONDS = 0.3
"""Pause of these clients between requests, in seconds.

It is shorter than the drain, so that each connection has a request during the drain and gets its last answer then.
"""

DRAIN_SECONDS = 3
POSTS_BETWEEN = 500
"""Number of answers before the next step of the update, with all services that run at that time."""

RECORDED = "SELECT user_id, uuid::text FROM saldo.transactions WHERE kind <> 0"


class Load:
    """Clients with one persistent connection each, which retry nothing."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._ended = False
        self._posted = asyncio.Condition()
        self.posted: dict[str, int] = {}
        """The user of each uuid whose transaction was answered 200."""

    async def run(self) -> None:
        await asyncio.gather(
            *(self._client(0) for _ in range(BUSY_CLIENTS)),
            *(self._client(CALM_SECONDS) for _ in range(CALM_CLIENTS)),
        )

    async def go_on(self) -> None:
        """Wait for some more answers."""
        target = len(self.posted) + POSTS_BETWEEN
        async with self._posted:
            await self._posted.wait_for(lambda: len(self.posted) >= target)

    def end(self) -> None:
        self._ended = True

    async def _client(self, pause_seconds: float) -> None:
        async with Client(self._url) as client:
            status, user = await client.post("/v1/user", {"name": str(uuid4())})
            assert status == 201, user
            while not self._ended:
                uuid = str(uuid4())
                deposit = {"uuid": uuid, "type": "DEPOSIT", "amount": "1", "user_id": user["id"]}
                status, answer = await client.post("/v1/transaction", deposit)
                assert status == 200, answer
                self.posted[uuid] = user["id"]
                async with self._posted:
                    self._posted.notify_all()
                if pause_seconds:
                    await asyncio.sleep(pause_seconds)


class Rollout:
    """The services behind the balancer."""

    def __init__(
        self, directory: Path, own_server: EmbeddedServer, balancer: Balancer, stack: ExitStack
    ) -> None:
        self._directory = directory
        self._server = own_server
        self._balancer = balancer
        self._stack = stack

    async def start(self) -> tuple[ServiceProcess, Backend]:
        """Start a service that gets connections, and return it when it is ready."""
        running = ServiceProcess(
            self._directory,
            SALDO_DATABASE_URL=self._server.service_role_url,
            SALDO_DATABASE_OWNER_URL=self._server.owner_role_url,
            SALDO_SHUTDOWN_DELAY_SECONDS=str(DRAIN_SECONDS),
            SALDO_RELAY_ENABLED="false",
        )
        self._stack.callback(running.end)
        await asyncio.to_thread(running.wait_until_ready)
        backend = self._balancer.add(running.url)
        await backend.ready.wait()
        return running, backend

    async def stop(self, running: ServiceProcess, backend: Backend) -> None:
        """Stop a service: it becomes unready, finishes its work and exits."""
        assert backend.connections > 0
        os.kill(running.process.pid, signal.SIGTERM)
        await backend.unready.wait()
        assert running.process.poll() is None
        assert await asyncio.to_thread(running.process.wait, 60) == 0
        self._balancer.remove(backend)


async def test_services_are_replaced_under_load_and_no_request_fails(
    tmp_path: Path, own_server: EmbeddedServer
) -> None:
    with ExitStack() as stack:
        async with run_balancer() as balancer:
            rollout = Rollout(tmp_path, own_server, balancer, stack)
            old = [await rollout.start(), await rollout.start()]
            load = Load(balancer.url)
            running = asyncio.create_task(load.run())
            for service, backend in old:
                await _unless_failed(running, load.go_on())
                _, new = await rollout.start()
                await _unless_failed(running, load.go_on())
                await rollout.stop(service, backend)
                await _unless_failed(running, load.go_on())
                assert new.connections > 0
            load.end()
            await running
            assert balancer.unserved == 0
    with psycopg.connect(own_server.superuser_url.replace("@/postgres", "@/saldo")) as connection:
        recorded = connection.execute(RECORDED).fetchall()
    assert {uuid: user_id for user_id, uuid in recorded} == load.posted
    assert max(Counter(uuid for _, uuid in recorded).values()) == 1


async def _unless_failed(load: asyncio.Task[None], step: object) -> None:
    """Await the step, or raise the failure of the load, which would otherwise keep the step waiting."""
    stepping = asyncio.ensure_future(step)  # type: ignore[call-overload]
    await asyncio.wait({load, stepping}, return_when=asyncio.FIRST_COMPLETED)
    if load.done():
        stepping.cancel()
        load.result()
    await stepping
