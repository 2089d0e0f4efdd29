"""The exit codes: each is triggered once, by a command in a process of its own."""

from __future__ import annotations

import re
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from uuid import uuid4

import pytest

from harness.program import forks
from harness.program.command import Program
from harness.program.service import ServiceProcess, run_service_process
from saldo.cli.exit_codes import MEANINGS, ExitCode
from tests.cli.process.test_connecting import ADMIN_KEY, proxy_without_answers


class Situation:
    """The things that the commands of this module need: a program, a service and a directory."""

    def __init__(self, program: Program, service: ServiceProcess, directory: Path) -> None:
        self.program = program
        self.service = service
        self.directory = directory

    def run(self, *arguments: str, **settings: str) -> int:
        """Run a command to its end, and return its exit code."""
        return forks.run(
            arguments,
            cwd=self.directory,
            env=self.program.environment | settings,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=120,
        ).returncode

    def stop_watch(self, number: signal.Signals) -> int:
        """Start `saldo watch`, send it a signal, and return its exit code."""
        user_id = self.program.user(f"watched {uuid4()}")
        watching = self.program.start("watch", "--from", "start", "--user", user_id, "--json")
        assert watching.stdout is not None
        assert watching.stdout.readline()
        watching.send_signal(number)
        watching.communicate(timeout=60)
        return watching.returncode


def _deny_access(situation: Situation) -> int:
    directory = situation.directory / "closed"
    directory.mkdir()
    with run_service_process(directory, SALDO_ADMIN_KEY=ADMIN_KEY) as closed:
        return situation.run("user", "list", SALDO_URL=closed.url)


def _lose_the_answer(situation: Situation) -> int:
    user_id = situation.program.user(f"lost {uuid4()}")
    with proxy_without_answers(situation.service) as url:
        return situation.run("deposit", user_id, "5", "--timeout", "1", SALDO_URL=url)


def _fail_internally(situation: Situation) -> int:
    """Run the program with a command that has a bug."""
    code = (
        "import sys, saldo.cli.commands.balance as module; module.connect = None; "
        "sys.argv = ['saldo', 'balance', '1']; from saldo.__main__ import main; main()"
    )
    command = [forks.COMMAND[0], "-c", code]
    done = subprocess.run(
        command,
        env=situation.program.environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    assert "TypeError" in done.stderr
    return done.returncode


TRIGGERS: dict[ExitCode, Callable[[Situation], int]] = {
    ExitCode.DONE: lambda it: it.run("user", "list"),
    ExitCode.REFUSED: lambda it: it.run("balance", "999999999"),
    ExitCode.USAGE: lambda it: it.run("balance", "1", "--date", "x"),
    ExitCode.UNAVAILABLE: lambda it: it.run("balance", "1", SALDO_URL="http://127.0.0.1:9"),
    ExitCode.ACCESS_DENIED: _deny_access,
    ExitCode.UNKNOWN: _lose_the_answer,
    ExitCode.INTERNAL_ERROR: _fail_internally,
    ExitCode.INTERRUPTED: lambda it: it.stop_watch(signal.SIGINT),
    ExitCode.TERMINATED: lambda it: it.stop_watch(signal.SIGTERM),
}


@pytest.mark.parametrize("code", ExitCode, ids=lambda code: code.name)
def test_exit_code(
    saldo: Program, shared_service: ServiceProcess, tmp_path: Path, code: ExitCode
) -> None:
    assert TRIGGERS[code](Situation(saldo, shared_service, tmp_path)) == code


UNAVAILABLE_DATABASE = "postgresql://saldo@127.0.0.1:9/saldo"


@pytest.mark.parametrize(
    ("settings", "code"),
    [
        ({"SALDO_DATABASE_URL": UNAVAILABLE_DATABASE}, ExitCode.UNAVAILABLE),
        ({"SALDO_DATABASE_URL": "nonsense"}, ExitCode.USAGE),
        ({"SALDO_LANES": "none"}, ExitCode.USAGE),
        ({}, ExitCode.UNAVAILABLE),
    ],
    ids=["database away", "malformed URL", "wrong setting", "no database"],
)
@pytest.mark.parametrize(
    "command",
    ["verify", "keys list", "webhooks list", "relay status", "audit status", "db migrate"],
)
def test_operators_commands_have_the_same_codes(
    tmp_path: Path, command: str, settings: dict[str, str], code: ExitCode
) -> None:
    Program(**settings)(*command.split(), directory=tmp_path, code=code)


@pytest.mark.parametrize("page", ["howto/command-line.md", "decisions/0027-command-line.md"])
def test_documented_codes_are_those_of_the_program(page: str) -> None:
    text = (Path(__file__).parents[3] / "docs" / page).read_text()
    rows = re.findall(r"^\| ([\d, ]+) \| .+ \|$", text, re.MULTILINE)
    codes = [int(code) for row in rows for code in row.split(",")]
    assert codes == [code.value for code in MEANINGS]
