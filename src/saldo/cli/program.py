"""The program: its commands and the handling of their errors.

Only the command that is run is imported, so that the program starts fast.
"""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from saldo.cli.exit_codes import (
    MEANINGS,
    CommandError,
    ExitCode,
    command_error_for_service,
    command_error_for_store,
)
from saldo.client.errors import SaldoError
from saldo.settings.environment import SettingsError
from saldo.store.errors import StoreError


class CommandEntry(NamedTuple):
    """The location of a command.

    Attributes:
        name: The name of the command's function; None if the command has subcommands, which are in the module's `app`.
    """

    panel: str
    module: str
    name: str | None = None
    examples: tuple[str, ...] = ()


MONEY, USERS, FILES, OPERATE = "Money", "Users", "Files", "Operate"

COMMANDS: Final[dict[str, CommandEntry]] = {
    "deposit": CommandEntry(
        *(MONEY, "deposit_withdraw", "deposit"),
        ("saldo deposit 1 100.50", "saldo deposit 1 20 --timestamp 2026-01-31T12:00:00Z"),
    ),
    "withdraw": CommandEntry(MONEY, "deposit_withdraw", "withdraw", ("saldo withdraw 1 50",)),
    "balance": CommandEntry(
        *(MONEY, "balance", "balance"),
        ("saldo balance 1", "saldo balance 1 --date 2026-01-31", "saldo balance 1 --plot"),
    ),
    "transactions": CommandEntry(
        *(MONEY, "transactions", "transactions"),
        ("saldo transactions 1 --from 2026-01-01 --type withdraw", "saldo transactions 1 --json"),
    ),
    "watch": CommandEntry(
        *(MONEY, "watch", "watch"), ("saldo watch --from start --user 1 --count 1 --json",)
    ),
    "user": CommandEntry(USERS, "user"),
    "statement": CommandEntry(
        *(USERS, "statement", "statement"),
        ("saldo statement 1 --month 2026-01", "saldo statement 1 --month 2026-01 -o 2026-01.pdf"),
    ),
    "import": CommandEntry(
        *(FILES, "import_", "import_"),
        (
            "saldo import transactions.csv --dry-run",
            "saldo import transactions.csv",
            "saldo import bank.csv --id bank-2026-01 --signed --map amount=Sum --map user_id=Account",
        ),
    ),
    "export": CommandEntry(
        *(FILES, "export", "export"),
        (
            "saldo export transactions.csv",
            "saldo export transactions.csv --columns uuid,type,amount,user_id,timestamp",
            "saldo export 2026-01.parquet --from 2026-01-01 --to 2026-02-01",
        ),
    ),
    "bench": CommandEntry(OPERATE, "bench", "bench", ("saldo bench --seconds 5",)),
    "serve": CommandEntry(OPERATE, "serve", "serve", ("saldo serve --port 8000",)),
    "keys": CommandEntry(OPERATE, "keys"),
    "webhooks": CommandEntry(OPERATE, "webhooks"),
    "verify": CommandEntry(OPERATE, "verify", "verify", ("saldo verify --state verify.json",)),
    "audit": CommandEntry(OPERATE, "audit"),
    "backup": CommandEntry(OPERATE, "backup", "backup", ("saldo backup backups/2026-01-31",)),
    "restore": CommandEntry(
        OPERATE, "backup", "restore", ("saldo restore backups/2026-01-31 --data-dir restored",)
    ),
    "upgrade": CommandEntry(OPERATE, "backup", "upgrade", ("saldo upgrade",)),
    "db": CommandEntry(OPERATE, "db"),
    "relay": CommandEntry(OPERATE, "relay"),
}
"""Each command by name, in the order of the help."""

_NEGATIVE_NUMBER: Final = re.compile(r"-\.?\d\S*", re.ASCII)

EXIT_CODES_HELP: Final = "Exit codes: " + "; ".join(
    f"{code.value} {meaning}" for code, meaning in MEANINGS.items()
)


def run() -> None:
    """Run the command. An error that the user can correct is printed as one line, with an exit code."""
    try:
        build_app(select_commands(_read_arguments()))(prog_name="saldo")
    except CommandError as error:
        _exit_with(error)
    except SaldoError as error:
        _exit_with(command_error_for_service(error))
    except StoreError as error:
        _exit_with(command_error_for_store(error))
    except SettingsError as error:
        _exit_with(CommandError(str(error)))


def select_commands(arguments: Sequence[str]) -> Iterable[str]:
    """Return the name of the command to run, or all names if no command is given (for the help)."""
    return [arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS


def _read_arguments() -> Sequence[str]:
    """Return the arguments after `saldo`. During shell completion, the last, unfinished word is left out."""
    if "_SALDO_COMPLETE" not in os.environ:
        return sys.argv[1:]
    # Bash sets the first variable, zsh and fish set the second one.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = line.split()
    return words[1:] if line[-1:].isspace() else words[1:-1]


def build_app(names: Iterable[str]) -> typer.Typer:
    """Return the program with these commands."""
    app = typer.Typer(
        cls=CommandGroup,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        help="Manage users' money balances, and operate the service that keeps them.",
        epilog=EXIT_CODES_HELP,
    )
    # With a callback, typer requires the command's name even if there is only one command.
    app.callback()(_root_callback)
    for name in names:
        command = COMMANDS[name]
        module = import_module(f"saldo.cli.commands.{command.module}")
        if command.name is None:
            app.add_typer(module.app, name=name, rich_help_panel=command.panel)
            continue
        register = app.command(
            name,
            cls=CommandWithoutNegativeNumbers if command.panel == MONEY else None,
            rich_help_panel=command.panel,
            epilog=_format_examples(command.examples),
        )
        register(getattr(module, command.name))
    return app


class CommandGroup(TyperGroup):
    """A group of commands. Ctrl-C ends a command in an orderly way, with a distinct exit code."""

    def list_commands(self, ctx: Any) -> list[str]:
        """Return the commands in the order of `COMMANDS`."""
        return [name for name in COMMANDS if name in self.commands]

    def invoke(self, ctx: Any) -> Any:
        """Run the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _exit_with(CommandError("interrupted", ExitCode.INTERRUPTED))


class CommandWithoutNegativeNumbers(TyperCommand):
    """A command that rejects negative numbers with an explanation. Otherwise the parser would take them for options."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse the arguments.

        Raises:
            CommandError: An argument is a negative number. Values of options may be negative.
        """
        words = args[: args.index("--")] if "--" in args else args
        valued = {
            name
            for each in self.params
            if isinstance(each, TyperOption) and not each.is_flag
            for name in (*each.opts, *each.secondary_opts)
        }
        for before, word in zip(["", *words], words, strict=False):
            if _NEGATIVE_NUMBER.fullmatch(word) and before not in valued:
                raise CommandError(
                    f"{word}: amounts and user ids can't be negative", ExitCode.USAGE
                )
        return super().parse_args(ctx, args)


def _exit_with(error: CommandError) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    from saldo.cli.output import escape_control_characters  # noqa: PLC0415 - needed only if a command fails

    print(f"saldo: {escape_control_characters(str(error))}", file=sys.stderr)  # noqa: T201
    sys.exit(error.code)


def _format_examples(examples: Sequence[str]) -> str:
    # The help shows each paragraph on a line of its own.
    return "\n\n".join(("Examples:", *(f"  {each}" for each in examples)))


def _root_callback() -> None:
    pass
