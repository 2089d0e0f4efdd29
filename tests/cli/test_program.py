"""The program as a whole: every command's help, what completes a command line, and how a mistake ends."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from saldo.cli.exits import MEANINGS, Exit
from saldo.cli.program import COMMANDS, application
from tests.cli.program import COMMAND, Program

UNTIL_STOPPED = {"serve", "relay"}
"""They print no result, but a log."""


def every_command() -> Iterator[tuple[str, Any]]:
    """With its whole name, groups too."""
    program = typer.main.get_command(application(COMMANDS))
    waiting: list[tuple[str, Any]] = [("", program)]
    while waiting:
        name, command = waiting.pop()
        if name:
            yield name, command
        for each, inner in getattr(command, "commands", {}).items():
            waiting.append((f"{name} {each}".strip(), inner))


EVERY = dict(every_command())


def test_the_help_lists_every_command_and_the_exit_codes() -> None:
    shown = " ".join(Program()("--help").output.split())
    for name in COMMANDS:
        assert f" {name} " in shown
    for code in MEANINGS:
        assert f"{code.value} " in shown.partition("Exit codes")[2]


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_every_command_helps(name: str) -> None:
    runner = CliRunner(env={"COLUMNS": "160"})
    shown = runner.invoke(application([name]), [name, "--help"], prog_name="saldo").output
    assert f"Usage: saldo {name}" in shown
    for example in COMMANDS[name].examples:
        assert example in shown


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_option_says_what_it_is(name: str) -> None:
    command = EVERY[name]
    assert command.help or (command.callback is not None and command.callback.__doc__)
    for parameter in command.params:
        assert getattr(parameter, "help", None), f"{name}: {parameter.name}"


@pytest.mark.parametrize("name", sorted(EVERY))
def test_every_result_can_be_had_as_json(name: str) -> None:
    command = EVERY[name]
    if not hasattr(command, "commands") and name not in UNTIL_STOPPED:
        assert "--json" in {option for each in command.params for option in each.opts}


def test_examples_are_commands_that_there_are() -> None:
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
def test_a_shell_completes_what_is_typed(line: str, offered: set[str]) -> None:
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
def test_the_script_for_a_shell_is_shown(shell: str) -> None:
    # Which shell it is shall not be looked for among the processes.
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
def test_a_mistake_names_itself(arguments: tuple[str, ...], named: str) -> None:
    ended = Program()(*arguments, code=Exit.USAGE)
    assert named in ended.errors
    assert ended.output == ""
