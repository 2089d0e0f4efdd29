"""`saldo bench`: it prints the figures of this machine and leaves no trace."""

from __future__ import annotations

from pathlib import Path

from harness.program.command import Program
from saldo.cli.exit_codes import ExitCode


def test_bench_measures_three_loads_and_leaves_nothing_behind(tmp_path: Path) -> None:
    options = ("--seconds", "1", "--connections", "4", "--users", "3", "--json")
    measured = Program(TMPDIR=str(tmp_path))("bench", "--local", *options, directory=tmp_path).lines
    assert [each["operation"] for each in measured] == [
        "single deposits, 4 concurrent",
        "deposits in a stream",
        "balance reads, 4 concurrent",
    ]
    assert all(each["per_second"] > 0 for each in measured)
    assert all(each["p50_ms"] <= each["p99_ms"] for each in measured if each["p50_ms"] is not None)
    assert list(tmp_path.iterdir()) == []


def test_bench_measures_a_real_service_with_the_option_real(saldo: Program) -> None:
    url = saldo.environment["SALDO_URL"]
    ended = saldo("bench", "--real", "--url", url, "--seconds", "1", "--users", "2")
    assert "balance reads, 32 concurrent" in ended.output
    assert any(each["name"].startswith("bench ") for each in saldo("user", "list", "--json").lines)


def test_option_real_requires_a_url() -> None:
    assert "--url" in Program()("bench", "--real", code=ExitCode.USAGE).errors


def test_bench_starts_nothing_without_the_option_local(tmp_path: Path) -> None:
    ended = Program()("bench", directory=tmp_path, code=ExitCode.USAGE)
    assert "--local" in ended.errors
    assert "--real" in ended.errors
    assert list(tmp_path.iterdir()) == []
