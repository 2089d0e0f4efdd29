"""The command line. One file a command; only that of the command asked for is loaded, as each needs much of Saldo."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Final

import typer

from saldo.settings import WrongSettingsError
from saldo.store.errors import StoreError

COMMANDS: Final = {
    "serve": "serve",
    "verify": "verify",
    "backup": "backup",
    "restore": "backup",
    "upgrade": "backup",
}
"""Each command by name, and its file."""

GROUPS: Final = ("audit", "db", "relay", "webhooks", "keys")
"""Files with commands of their own."""


def main() -> None:
    """The entry point: what the operator can mend is one line and exit code 1."""
    try:
        application(named(sys.argv[1:]))()
    except (WrongSettingsError, StoreError) as error:
        print(f"saldo: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)


def named(arguments: Sequence[str]) -> Iterable[str]:
    """The command that is asked for; or all, where help or a completion may name any."""
    known = (*COMMANDS, *GROUPS)
    if arguments and arguments[0] in known and "_SALDO_COMPLETE" not in os.environ:
        return [arguments[0]]
    return known


def application(names: Iterable[str]) -> typer.Typer:
    """The program with these commands."""
    app = typer.Typer(
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        help="Saldo keeps users' balances: exactly once, never negative, at any date.",
    )
    # With one command alone, its name would not be asked for.
    app.callback()(_nothing)
    for name in names:
        if name in COMMANDS:
            app.command(name)(getattr(import_module(f"saldo.cli.{COMMANDS[name]}"), name))
        else:
            app.add_typer(import_module(f"saldo.cli.{name}").app, name=name)
    return app


def _nothing() -> None:
    pass
