"""The program as a whole: help texts, completion of command lines, and exit on errors."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from harness.program.command import Program
from harness.program.forks import COMMAND
from saldo.cli.command_table import COMMANDS
from saldo.cli.error_mapping import find_command_error
from saldo.cli.exit_codes import MEANINGS, CommandError, ExitCode
from saldo.cli.program import build_app

UNTIL_STOPPED = {"serve", "relay"}
"""Commands that print a log and no result."""


def every_command() -> Iterator[tuple[str, Any]]:
    """Yield every command and every group with its full name."""
    program = typer.main.get_command(build_app(COMMANDS))
    waiting: list[tuple[str, Any]] = [("", program)]
    while waiting:
        name, command = waiting.pop()
        if name:
            yield name, command
        for each, inner in getattr(command, "commands", {}).items():
            waiting.append((f"{name} {each}".strip(), inner))


EVERY = dict(every_command())


def test_help_lists_every_command_and_the_exit_codes() -> None:
    shown = " ".join(Program()("--help").output.split())
    for name in COMMANDS:
        assert f" {name} " in shown
    for code in MEANINGS:
        assert f"{code.value} " in shown.partition("Exit codes")[2]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_has_a_help_with_its_examples(name: str) -> None:
    runner = CliRunner(env={"COLUMNS": "160"})
    shown = runner.invoke(build_app([name]), [name, "--help"], prog_name="saldo").output
    assert f"Usage: saldo {name}" in shown
    for example in COMMANDS[name].examples:
        assert example in shown


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_command_and_option_has_a_description(name: str) -> None:
    command = EVERY[name]
    assert command.help or (command.callback is not None and command.callback.__doc__)
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_command_with_a_result_has_the_option_json(name: str) -> None:
    command = EVERY[name]
    if not hasattr(command, "commands") and name not in UNTIL_STOPPED:
        assert "--json" in {option for each in command.params for option in each.opts}


def test_examples_use_existing_commands_and_options() -> None:
    examples = [each for command in COMMANDS.values() for each in command.examples]
    assert len(examples) > 15
    for example in examples:
        _, name, *arguments = example.split()
        options = {
            option for each in EVERY[name].params for option in (*each.opts, *each.secondary_opts)
        }
        assert {each for each in arguments if re.match(r"-+[a-z]", each)} <= options, example


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("saldo dep", {"deposit"}),
        ("saldo ", set(COMMANDS)),
        ("saldo keys r", {"revoke", "rotate"}),
        ("saldo balance --pl", {"--plot"}),
        ("saldo export out --format p", {"parquet"}),
    ],
)
def test_shell_completion(line: str, offered: set[str]) -> None:
    words = line.split(" ")
    done = subprocess.run(
        COMMAND,
        env=Program().environment
        | {
            "_SALDO_COMPLETE": "complete_bash",
            "COMP_WORDS": line,
            "COMP_CWORD": str(len(words) - 1),
        },
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert set(done.stdout.split()) == offered, done.stderr


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script_is_printed(shell: str) -> None:
    # This variable keeps typer from detecting the shell among the processes.
    told = Program(_TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    shown = told("--show-completion", shell).output
    assert "_SALDO_COMPLETE" in shown


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("depsit", "1", "2"), "depsit"),
        (("deposit", "1"), "amount"),
        (("balance", "1", "--dat", "2026-01-01"), "--dat"),
        (("keys", "revok", "1"), "revok"),
    ],
)
def test_usage_error_names_the_mistake(arguments: tuple[str, ...], named: str) -> None:
    ended = Program()(*arguments, code=ExitCode.USAGE)
    assert named in ended.errors
    assert ended.output == ""


@pytest.mark.parametrize(
    "arguments",
    [("verify",), ("keys", "list"), ("webhooks", "list"), ("relay", "status"), ("audit", "status")],
)
def test_unreachable_database_has_its_exit_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(tmp_path)
    # Nothing listens there.
    monkeypatch.setenv("SALDO_DATABASE_URL", "postgresql://saldo@127.0.0.1:9/saldo")
    done = CliRunner().invoke(build_app([arguments[0]]), arguments)
    assert isinstance(done.exception, Exception), done.output
    error = find_command_error(done.exception)
    assert error is not None, done.output
    assert error.code is ExitCode.UNAVAILABLE
    assert "\n" not in str(error)


def test_failed_verification_start_is_not_reported_as_a_fault(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    for arguments in (["--all", "--state", "a"], ["--heads", "not there"]):
        done = CliRunner().invoke(build_app(["verify"]), ["verify", *arguments])
        assert isinstance(done.exception, Exception)
        error = find_command_error(done.exception)
        assert error is not None
        assert error.code is ExitCode.USAGE


def test_documented_exit_codes_equal_those_of_the_program() -> None:
    page = (Path(__file__).parents[3] / "docs/howto/command-line.md").read_text()
    rows = re.findall(r"^\| (\d+) \| (.+) \|$", page, re.MULTILINE)
    assert {int(code): meaning for code, meaning in rows} == {
        code.value: meaning for code, meaning in MEANINGS.items()
    }


@pytest.mark.parametrize(
    "words",
    [
        ["deposit", "7", "--json", "-5"],
        ["deposit", "7", "-5", "--json"],
        ["withdraw", "--uuid", "x", "7", "-.5"],
        ["balance", "--json", "-1"],
        ["transactions", "--limit", "5", "-1"],
    ],
)
def test_negative_number_is_reported_in_every_position(words: list[str]) -> None:
    done = CliRunner().invoke(build_app([words[0]]), words)
    assert isinstance(done.exception, CommandError), done.output
    assert "can't be negative" in str(done.exception)
