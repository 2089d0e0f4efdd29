"""The modules that `saldo --help` loads: the answer must come at once, so it may load no command and no library."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from harness.program.environment import copy_environment
from saldo.cli.command_table import COMMANDS
from saldo.cli.exit_codes import ExitCode
from saldo.cli.program import build_app
from saldo.cli.root_help import OPTIONS, format_help
from saldo.version import VERSION
from tests.cli.process.test_program import EVERY

SLOW = {
    *("typer", "rich", "click", "pydantic", "pydantic_settings", "httpx", "msgspec", "asyncio"),
    *("asyncpg", "psycopg", "sqlalchemy", "alembic", "litestar", "uvicorn", "aiohttp", "structlog"),
    *("saldo.cli.program", "saldo.cli.commands", "saldo.client", "saldo.settings", "saldo.store"),
}
"""Modules that are slow to load, or that load slow modules."""

MODULES_MAX = 150
"""Maximum number of modules that the help loads. Python itself loads some 60 of them."""

PROBE = """
import json, sys
sys.argv = ["saldo", *json.loads(sys.argv[1])]
from saldo.__main__ import main
try:
    main()
finally:
    print(json.dumps(sorted(sys.modules)), file=sys.stderr)
"""


def run_and_list_modules(*arguments: str) -> tuple[int, str, set[str]]:
    """Run the program in a new Python process, and return its exit code, its output and the loaded modules."""
    done = subprocess.run(
        [sys.executable, "-c", PROBE, json.dumps(arguments)],
        env=copy_environment() | {"COLUMNS": "80"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    return done.returncode, done.stdout, set(json.loads(done.stderr.splitlines()[-1]))


@pytest.mark.parametrize(("arguments", "code"), [(["--help"], ExitCode.DONE), ([], ExitCode.USAGE)])
def test_help_loads_no_command_and_no_library(arguments: list[str], code: ExitCode) -> None:
    returned, output, modules = run_and_list_modules(*arguments)
    assert returned == code
    assert output == format_help(80)
    assert modules & SLOW == set()
    assert len(modules) < MODULES_MAX


def test_version_is_printed_without_loading_a_command() -> None:
    returned, output, modules = run_and_list_modules("--version")
    assert (returned, output) == (ExitCode.DONE, f"saldo {VERSION}\n")
    assert modules & SLOW == set()


def test_a_command_loads_no_other_command() -> None:
    _, output, modules = run_and_list_modules("balance", "--help")
    assert "Show a user's balance" in output
    loaded = {name for name in modules if name.startswith("saldo.cli.commands.")}
    assert loaded == {"saldo.cli.commands.balance"}
    # A client's command needs no part of the service.
    assert modules & {"asyncpg", "psycopg", "sqlalchemy", "litestar", "uvicorn"} == set()


def test_the_help_has_each_description_on_one_line_of_80_columns() -> None:
    lines = format_help(80).splitlines()
    assert max(map(len, lines)) <= 80
    for name, command in COMMANDS.items():
        (line,) = [line for line in lines if line.startswith(f"  {name} ")]
        assert line.split(maxsplit=1) == [name, command.summary]
    assert "…" not in format_help(80)


@pytest.mark.parametrize("name", sorted(COMMANDS))
def test_the_table_has_the_first_line_of_the_command_s_own_help(name: str) -> None:
    assert EVERY[name].help is not None
    assert EVERY[name].help.split("\n\n")[0].replace("\n", " ") == COMMANDS[name].summary


@pytest.mark.parametrize(
    "group", sorted({name for name in COMMANDS if COMMANDS[name].name is None})
)
def test_help_of_a_group_cuts_off_no_description(group: str) -> None:
    _, output, _ = run_and_list_modules(group, "--help")
    assert "…" not in output
    shown = " ".join(output.replace("│", " ").split())
    for full_name, command in EVERY.items():
        if full_name.startswith(f"{group} "):
            first = command.help.split("\n\n")[0].replace("\n", " ")
            assert f"{full_name.split()[1]} {first}" in shown


def test_the_help_lists_the_options_of_the_application() -> None:
    import typer

    application = typer.main.get_command(build_app(COMMANDS, loaded=()))
    context = application.make_context("saldo", [], resilient_parsing=True)
    options = {option for each in application.get_params(context) for option in each.opts}
    assert options == set(OPTIONS)
