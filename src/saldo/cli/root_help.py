"""The help and the version of the program, which are printed without loading typer or any command."""

from __future__ import annotations

import shutil
import sys
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from importlib.util import find_spec
from typing import Final

from saldo.cli.command_table import COMMANDS
from saldo.cli.exit_codes import MEANINGS, ExitCode
from saldo.version import VERSION

DESCRIPTION: Final = "Manage users' money balances, and operate the service that keeps them."

VERSION_LINE: Final = f"saldo {VERSION}"

OPTIONS: Final = {
    "--version": "Show the version and exit.",
    "--install-completion": "Install completion for the current shell.",
    "--show-completion": "Show completion for the current shell, to copy it or customize the installation.",
    "--help": "Show this message and exit. `saldo COMMAND --help` explains a command.",
}
"""The options of the program itself, with their descriptions."""

WIDTH_MAX: Final = 100
"""Maximum width of the help in characters, because longer lines are difficult to read."""


def print_help_or_version(arguments: Sequence[str]) -> ExitCode | None:
    """Print the help or the version if the arguments ask for it.

    Returns:
        The exit code; None if the arguments ask for something else, and nothing was printed.
    """
    first = arguments[0] if arguments else None
    if first == "--version":
        sys.stdout.write(f"{VERSION_LINE}\n")
        return ExitCode.DONE
    # Without the packages of the service, the program names the missing package instead.
    if (first == "--help" or first is None) and find_spec("typer") is not None:
        sys.stdout.write(format_help(shutil.get_terminal_size().columns))
        return ExitCode.USAGE if first is None else ExitCode.DONE
    return None


def format_help(width: int) -> str:
    """Return the help of the program.

    Args:
        width: The width of the terminal, in characters.
    """
    width = min(width, WIDTH_MAX)
    lines = ["Usage: saldo [OPTIONS] COMMAND [ARGS]...", "", *textwrap.wrap(DESCRIPTION, width)]
    lines += _format_section("Options", OPTIONS.items(), width)
    panels = dict.fromkeys(command.panel for command in COMMANDS.values())
    name_width = max(map(len, COMMANDS))
    for panel in panels:
        rows = (
            (name.ljust(name_width), command.summary)
            for name, command in COMMANDS.items()
            if command.panel == panel
        )
        lines += _format_section(panel, rows, width)
    codes = ((f"{code.value:>3}", meaning) for code, meaning in MEANINGS.items())
    lines += _format_section("Exit codes", codes, width)
    return "\n".join(lines) + "\n"


def _format_section(title: str, rows: Iterable[tuple[str, str]], width: int) -> Iterator[str]:
    yield from ("", f"{title}:")
    pairs = list(rows)
    margin = 2 + max(len(name) for name, _ in pairs) + 2
    for name, description in pairs:
        yield from textwrap.wrap(
            f"{f'  {name}':<{margin}}{description}",
            max(width, margin + 20),
            subsequent_indent=" " * margin,
            break_on_hyphens=False,
        )
