"""Output of names: no name can send control sequences to the terminal or markup to rich."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness.repository import ROOT
from saldo.cli import output
from saldo.cli.commands import keys, relay, statement, webhooks
from saldo.cli.commands.watch import _EventPrinter
from saldo.cli.statements.account_statement import AccountStatement, StatementPeriod
from saldo.client.models import Event, User, UserData

NOW = datetime(2026, 1, 1, tzinfo=UTC)

NAMES = {
    r"\[/]": r"\[/]",
    "[/]": "[/]",
    "[conceal]x[/conceal]": "[conceal]x[/conceal]",
    "[black on black]x": "[black on black]x",
    "[link=https://a.example]x[/link]": "[link=https://a.example]x[/link]",
    ":smile:": ":smile:",
    "a\x1b[31mb": r"a\u001b[31mb",
    "a\x9b31mb": r"a\u009b31mb",
    "a\u202e000": r"a\u202e000",
    "a\u2028b\nc": r"a\u2028b\u000ac",
    "été 🙂 \u2620": "été 🙂 \u2620",
}
"""Names, each with its expected output."""


def _print_keys(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    key = SimpleNamespace(
        id=1, name=name, scopes=["read"], user_ids=None, networks=None, created_at=NOW,
        expires_at=None, revoked_at=None, valid=True, replaced_by=None,
    )  # fmt: skip
    monkeypatch.setattr(keys, "query_database", lambda *_, **__: [key])
    keys.list_()


def _webhook(name: str) -> Any:
    return SimpleNamespace(
        id=1, url=name, user_ids=None, event_types=None, created_at=NOW, attempts_succeeded=0,
        attempts_failed=0, deliveries_pending=0, deliveries_dead=0, last_failure=name,
        last_failure_at=NOW, failing_since=None, disabled_at=None, disabled_reason=None,
    )  # fmt: skip


def _print_webhooks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(webhooks, "query_database", lambda *_, **__: [_webhook(name)])
    webhooks.list_()


def _print_webhook(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setattr(webhooks, "query_database", lambda *_, **__: _webhook(name))
    webhooks.show(1)


def _print_deliveries(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    delivery = SimpleNamespace(
        uuid="u", user_id=1, dead_at=None, attempts=1, pending_since=NOW, next_attempt_at=NOW,
        last_failure=name,
    )  # fmt: skip
    monkeypatch.setattr(webhooks, "query_database", lambda *_, **__: [delivery])
    webhooks.deliveries(1)


def _print_sinks(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    sink = SimpleNamespace(
        name="s", is_active=True, events_published=0, events_unrouted=0, events_behind=0,
        seconds_behind=0.0, last_failure=name, last_failure_at=NOW,
    )  # fmt: skip

    async def status(*_: object) -> list[Any]:
        return [sink]

    class Nowhere:
        def __init__(self, *_: object, **__: object) -> None: ...
        def __enter__(self) -> str:
            return ""

        def __exit__(self, *_: object) -> None: ...

    monkeypatch.setattr(relay, "read_sink_status", status)
    monkeypatch.setattr(relay, "open_database", Nowhere)
    relay.status()


def _print_statement(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    user = User(1, name, Decimal(0), NOW)
    statement._print_statement(
        AccountStatement(user, StatementPeriod(NOW, NOW), None, Decimal(0), [], Decimal(0))
    )


def _watch(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    data = UserData(1, name, Decimal(0), 0, NOW, 0, 1)
    _EventPrinter().print(Event("1", "saldo.user.created", NOW, data, ""))


def _print_table(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    output.print_table(["id", "name"], [(1, name)])


def _print_fields(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    output.print_fields([("name", name)])


def _say(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    output.print_line(name)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "show",
    [
        *(_print_keys, _print_webhooks, _print_webhook, _print_deliveries, _print_sinks),
        *(_print_statement, _watch, _print_table, _print_fields, _say),
    ],
)
def test_name_is_printed_without_markup_or_control_characters(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    show: Any,
    name: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "300")
    show(monkeypatch, name)
    assert NAMES[name] in capsys.readouterr().out


def test_all_commands_share_one_console() -> None:
    """Check that all modules use one console: with another one, names would be parsed as markup."""
    found = [
        path.name
        for path in (ROOT / "src/saldo/cli").rglob("*.py")
        if path.name != "output.py" and "Console(" in path.read_text().replace("console(", "")
    ]
    assert found == []
