"""`saldo bench`: figures of this machine, and no trace of it."""

from __future__ import annotations

from pathlib import Path

from saldo.cli.exits import Exit
from tests.cli.program import Program


def test_three_things_are_measured_and_nothing_is_left(tmp_path: Path) -> None:
    options = ("--seconds", "1", "--connections", "4", "--users", "3", "--json")
    measured = Program(TMPDIR=str(tmp_path))("bench", *options, directory=tmp_path).lines
    assert [each["what"] for each in measured] == [
        "deposits, 4 at a time",
        "deposits, many in a request",
        "balances, 4 at a time",
    ]
    assert all(each["per_second"] > 0 for each in measured)
    assert all(each["p50_ms"] <= each["p99_ms"] for each in measured if each["p50_ms"] is not None)
    assert list(tmp_path.iterdir()) == []


def test_a_service_that_is_used_is_measured_when_that_is_said(saldo: Program) -> None:
    url = saldo.environment["SALDO_URL"]
    ended = saldo("bench", "--real", "--url", url, "--seconds", "1", "--users", "2")
    assert "balances, 32 at a time" in ended.output
    assert any(each["name"].startswith("bench ") for each in saldo("user", "list", "--json").lines)


def test_real_needs_a_service_that_is_named() -> None:
    assert "--url" in Program()("bench", "--real", code=Exit.USAGE).errors
