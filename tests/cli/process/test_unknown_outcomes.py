"""The exit code and the message of a command that changes the database directly and loses its connection."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, nullcontext
from typing import Any

import pytest

from saldo.cli.commands import audit, keys, relay, webhooks
from saldo.cli.connection import database
from saldo.cli.exit_codes import ExitCode
from saldo.store.audit.progress import AuditProgress
from saldo.store.keys import Keys
from saldo.store.webhooks import Webhooks
from tests.cli.process.test_connecting import fail


class BrokenPool:
    """A pool whose connections break, either before a statement is sent or while its result is awaited."""

    pooled = any_server = distributed = False

    def __init__(self, error: Exception, *, is_connected: bool) -> None:
        self.error = error
        self.is_connected = is_connected

    @asynccontextmanager
    async def acquire(self, timeout: float | None) -> AsyncIterator[BrokenPool]:
        if not self.is_connected:
            raise self.error
        yield self

    async def fetch(self, *_arguments: Any) -> Any:
        raise self.error


def use_pool(monkeypatch: pytest.MonkeyPatch, pool: BrokenPool) -> None:
    """Make all commands of this module use the pool."""

    def open_with(store: Any) -> Any:
        return lambda *_: nullcontext(store)

    for module in (database, audit, relay):
        monkeypatch.setattr(module, "open_database", lambda *_, **__: nullcontext("postgresql:///"))
    monkeypatch.setattr(keys, "open_key_store", open_with(Keys(pool, timeout_seconds=1)))
    monkeypatch.setattr(
        webhooks, "open_webhook_store", open_with(Webhooks(pool, timeout_seconds=1))
    )
    monkeypatch.setattr(audit, "open_audit_store", open_with(AuditProgress(pool, lease_seconds=1)))
    monkeypatch.setattr("saldo.bootstrap.relay.open_relay_pool", open_with(pool))


CHANGES = {
    "keys create a --scope read": "saldo keys list",
    "keys revoke 7": "whether key 7 is revoked",
    "keys rotate 7": "whether key 7 was replaced",
    "webhooks create https://a.example": "saldo webhooks list",
    "webhooks delete 7": "whether webhook 7 still exists",
    "webhooks enable 7": "saldo webhooks show 7",
    "webhooks disable 7": "saldo webhooks show 7",
    "webhooks replay 7": "repeat the command",
    "audit acknowledge 7 --why a": "whether fault 7 is acknowledged",
    "relay rewind --sink a --to now": "can be repeated",
}
"""Commands, with a part of the message that says how to find out whether the change was made."""


@pytest.mark.parametrize("error", [ConnectionResetError("reset"), TimeoutError(), TypeError("bug")])
@pytest.mark.parametrize(("command", "hint"), CHANGES.items())
def test_connection_that_breaks_after_sending_leaves_the_outcome_unknown(
    monkeypatch: pytest.MonkeyPatch, command: str, hint: str, error: Exception
) -> None:
    use_pool(monkeypatch, BrokenPool(error, is_connected=True))
    failure = fail(command.split())
    assert failure.code == ExitCode.UNKNOWN
    assert "may have been made" in str(failure)
    assert hint in str(failure)


@pytest.mark.parametrize("command", CHANGES)
def test_connection_that_can_not_be_opened_means_that_nothing_was_done(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    use_pool(monkeypatch, BrokenPool(ConnectionRefusedError("refused"), is_connected=False))
    failure = fail(command.split())
    assert failure.code == ExitCode.UNAVAILABLE
    assert "may have been made" not in str(failure)


@pytest.mark.parametrize("command", ["keys list", "webhooks list", "webhooks show 7"])
def test_read_with_a_lost_connection_has_done_nothing(
    monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    use_pool(monkeypatch, BrokenPool(ConnectionResetError("reset"), is_connected=True))
    assert fail(command.split()).code == ExitCode.UNAVAILABLE
