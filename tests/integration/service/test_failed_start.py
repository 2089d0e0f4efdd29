"""A start that fails closes everything that it has opened: tasks, sockets and connections to the database."""

from __future__ import annotations

import asyncio
import gc
import warnings
from pathlib import Path
from typing import Any

import psycopg
import pytest

from harness.postgresql.databases import Database
from harness.program.settings import create_settings
from saldo.auth.key_cache import KeyCache
from saldo.bootstrap import relay, service, webhooks
from saldo.bootstrap.auth import AuthStack
from saldo.bootstrap.relay import run_relays
from saldo.bootstrap.service import run_service
from saldo.engine.engine import Engine
from saldo.store.reader import Reader
from saldo.store.webhooks import Webhooks

OTHERS = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"

STEPS: dict[Any, list[tuple[Any, str]]] = {
    run_service: [
        (Reader, "open"),
        (Webhooks, "open"),
        (service, "open_pool"),
        (service, "is_distributed"),
        (AuthStack, "open"),
        (KeyCache, "__init__"),
        (Engine, "start"),
        (AuthStack, "start"),
        (service, "sample_runtime"),
        (service, "MetricsHistory"),
        (service, "AppContext"),
        (service, "create_app"),
    ],
    run_relays: [
        (relay, "Log"),
        (relay, "create_sinks"),
        (relay, "run_webhooks"),
        (webhooks, "open_pool"),
        (relay, "receive_wakeups"),
        (relay, "run_totals"),
        (relay, "Sealer"),
        (relay, "run_relays_until_exit"),
    ],
}
"""The steps of each start, in their order. One of them fails in each test."""


class StepFailedError(Exception):
    """Raised by the step that fails."""


def fail(*_: object, **__: object) -> Any:
    raise StepFailedError


@pytest.mark.parametrize(
    ("start", "owner", "name"),
    [
        pytest.param(start, owner, name, id=f"{start.__name__}-{owner.__name__}.{name}")
        for start, steps in STEPS.items()
        for owner, name in steps
    ],
)
async def test_failed_start_leaves_nothing_open(
    own_ledger: Database,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    start: Any,
    owner: Any,
    name: str,
) -> None:
    monkeypatch.setattr(owner, name, fail)
    url = own_ledger.service_role_url
    before = asyncio.all_tasks()
    with warnings.catch_warnings():
        # A socket or transport that nobody closed is reported when it is collected.
        warnings.simplefilter("error", ResourceWarning)
        with pytest.raises(StepFailedError):
            async with start(create_settings(url, admin_key="k" * 40), url, tmp_path / "bell"):
                pass
        gc.collect()
    assert asyncio.all_tasks() == before
    await wait_until_disconnected(own_ledger)


async def wait_until_disconnected(database: Database) -> None:
    """Wait until no connection to the database is open; the server notices closed ones a little later."""
    async with (
        asyncio.timeout(30),
        await psycopg.AsyncConnection.connect(database.owner_role_url, autocommit=True) as observer,
    ):
        while (await (await observer.execute(OTHERS)).fetchone()) != (0,):
            await asyncio.sleep(0.02)
