"""`saldo webhooks` as an operator uses it beside a running service, and the metrics."""

from __future__ import annotations

import asyncio
import re
import subprocess
from pathlib import Path
from typing import Any

import httpx

from harness.events.webhook_receiver import accept, build_response, respond_always, run_receiver
from harness.program import forks
from harness.program.environment import copy_environment
from harness.program.service import run_service_process

SETTINGS = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_ALLOW_HTTP": "true",
    "SALDO_WEBHOOK_BACKOFF_SECONDS_MIN": "0.05",
    "SALDO_WEBHOOK_GIVE_UP_SECONDS": "0.01",
}


def webhooks(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return forks.run(
        ["webhooks", *arguments],
        cwd=directory,
        env=copy_environment() | SETTINGS | {"COLUMNS": "200", "TZ": "UTC"},
        capture_output=True,
        text=True,
        timeout=60,
    )


async def test_an_operator_subscribes_inspects_and_replays(tmp_path: Path) -> None:
    async def run(*arguments: str) -> subprocess.CompletedProcess[str]:
        return await asyncio.to_thread(webhooks, tmp_path, *arguments)

    async with run_receiver() as receiver:
        receiver.behave = respond_always(build_response(500))
        with run_service_process(tmp_path, **SETTINGS) as running:
            created = webhooks(
                tmp_path, "create", receiver.url, "--event-type", "saldo.user.created"
            )
            assert re.fullmatch(r"webhook 1, secret whsec_\S{44}\n", created.stdout), created
            async with httpx.AsyncClient(base_url=running.url) as client:
                await client.post("/v1/user", json={"name": "user-7341"})
                await receiver.wait_for_count(1)
                while "dead" not in (await run("deliveries", "1")).stdout.split():
                    pass
                metrics = (await client.get("/metrics")).text
                assert 'saldo_webhook_deliveries{state="dead",webhook="1"} 1.0' in metrics
                assert 'saldo_webhook_disabled{webhook="1"} 0.0' in metrics
                assert receiver.url in (await run("list")).stdout
                assert "answered 500" in (await run("show", "1")).stdout
                receiver.behave = accept
                before = len(receiver.received)
                replayed = await run("replay", "1")
                assert replayed.stdout == "retrying 1 delivery\n", replayed
                await receiver.wait_for_count(before + 1)
            assert (await run("disable", "1")).returncode == 0
            assert "disabled (requested)" in (await run("list")).stdout
            assert (await run("enable", "1")).returncode == 0
            assert (await run("delete", "1")).stdout == "webhook 1 is deleted\n"
            for arguments in (["show", "1"], ["delete", "1"], ["enable", "1"], ["replay", "1"]):
                answered = await run(*arguments)
                assert answered.returncode == 1
                assert answered.stderr == (
                    "saldo: there is no webhook 1; `saldo webhooks list` lists all webhooks\n"
                )


def test_webhook_command_errors_are_one_line(tmp_path: Path) -> None:
    answered = webhooks(tmp_path, "create", "ftp://example.com", "--user", "x")
    assert answered.returncode == 2
    assert answered.stderr.startswith("saldo: url must be a URL")
    assert "user_ids" in answered.stderr
    assert len(answered.stderr.splitlines()) == 1


async def test_private_network_is_unreachable_unless_allowed(tmp_path: Path) -> None:
    async with run_receiver() as receiver:
        with run_service_process(tmp_path, SALDO_WEBHOOK_ALLOW_HTTP="true") as running:
            async with httpx.AsyncClient(base_url=running.url) as client:
                refused = await client.post("/v1/webhook", json={"url": receiver.url})
                assert (refused.status_code, refused.json()["errors"][0]["field"]) == (422, "url")
                url = receiver.url.replace("127.0.0.1", "localhost")
                assert (await client.post("/v1/webhook", json={"url": url})).status_code == 201
                await client.post("/v1/user", json={"name": "user-7341"})
                webhook: dict[str, Any] = {"attempts_failed": 0}
                while not webhook["attempts_failed"]:
                    webhook = (await client.get("/v1/webhook/1")).json()
                assert "is not an address of the public internet" in webhook["last_failure"]
                assert webhook["deliveries_pending"] == 1
    assert receiver.received == []
