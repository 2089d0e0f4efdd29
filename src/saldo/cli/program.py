"""The program: which commands there are, and how it ends. Only the command asked for is loaded, as each needs much."""

from __future__ import annotations

import os
import re
import signal
import sys
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, Final, NamedTuple, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup

from saldo.cli.exits import MEANINGS, CommandError, Exit, of_error
from saldo.client.errors import SaldoError
from saldo.settings import WrongSettingsError
from saldo.store.errors import StoreError


class Command(NamedTuple):
    """Where a command is. name: its function; None: the file has commands of its own, as `app`."""

    panel: str
    module: str
    name: str | None = None
    examples: tuple[str, ...] = ()


MONEY, USERS, FILES, OPERATE = "Money", "Users", "Files", "Operate"

COMMANDS: Final[dict[str, Command]] = {
    "deposit": Command(
        *(MONEY, "posting", "deposit"),
        ("saldo deposit 1 100.50", "saldo deposit 1 20 --timestamp 2026-01-31T12:00:00Z"),
    ),
    "withdraw": Command(MONEY, "posting", "withdraw", ("saldo withdraw 1 50",)),
    "balance": Command(
        *(MONEY, "balance", "balance"),
        ("saldo balance 1", "saldo balance 1 --date 2026-01-31", "saldo balance 1 --plot"),
    ),
    "transactions": Command(
        *(MONEY, "transactions", "transactions"),
        ("saldo transactions 1 --from 2026-01-01 --type withdraw", "saldo transactions 1 --json"),
    ),
    "watch": Command(
        *(MONEY, "watch", "watch"), ("saldo watch --from start --user 1 --count 1 --json",)
    ),
    "user": Command(USERS, "user"),
    "statement": Command(
        *(USERS, "statement", "statement"),
        ("saldo statement 1 --month 2026-01", "saldo statement 1 --month 2026-01 -o 2026-01.pdf"),
    ),
    "import": Command(
        *(FILES, "import_", "import_"),
        (
            "saldo import transactions.csv --dry-run",
            "saldo import transactions.csv",
            "saldo import bank.csv --id bank-2026-01 --signed --map amount=Sum --map user_id=Account",
        ),
    ),
    "export": Command(
        *(FILES, "export", "export"),
        (
            "saldo export transactions.csv",
            "saldo export transactions.csv --columns uuid,type,amount,user_id,timestamp",
            "saldo export 2026-01.parquet --from 2026-01-01 --to 2026-02-01",
        ),
    ),
    "bench": Command(OPERATE, "bench", "bench", ("saldo bench --seconds 5",)),
    "serve": Command(OPERATE, "serve", "serve", ("saldo serve --port 8000",)),
    "keys": Command(OPERATE, "keys"),
    "webhooks": Command(OPERATE, "webhooks"),
    "verify": Command(OPERATE, "verify", "verify", ("saldo verify --state verify.json",)),
    "audit": Command(OPERATE, "audit"),
    "backup": Command(OPERATE, "backup", "backup", ("saldo backup backups/2026-01-31",)),
    "restore": Command(
        OPERATE, "backup", "restore", ("saldo restore backups/2026-01-31 --data-dir restored",)
    ),
    "upgrade": Command(OPERATE, "backup", "upgrade", ("saldo upgrade",)),
    "db": Command(OPERATE, "db"),
    "relay": Command(OPERATE, "relay"),
}
"""Each command by name, in the order of the help."""

_BELOW_ZERO: Final = re.compile(r"-\.?\d\S*", re.ASCII)

EXITS: Final = "Exit codes: " + "; ".join(
    f"{code.value} {meaning}" for code, meaning in MEANINGS.items()
)


def run() -> None:
    """Runs the command that is asked for: what the user can mend is one line and an exit code."""
    try:
        application(named(_typed()))(prog_name="saldo")
    except CommandError as error:
        _end(error)
    except SaldoError as error:
        _end(of_error(error))
    except (WrongSettingsError, StoreError) as error:
        _end(CommandError(str(error)))


def named(arguments: Sequence[str]) -> Iterable[str]:
    """The command that is asked for; or all, where any may be named."""
    return [arguments[0]] if arguments and arguments[0] in COMMANDS else COMMANDS


def _typed() -> Sequence[str]:
    """The words after `saldo`; of a line that a shell wants completed, those before the last, which is unfinished."""
    if "_SALDO_COMPLETE" not in os.environ:
        return sys.argv[1:]
    # In bash the one, in zsh and fish the other.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = line.split()
    return words[1:] if line[-1:].isspace() else words[1:-1]


def application(names: Iterable[str]) -> typer.Typer:
    """The program with these commands."""
    app = typer.Typer(
        cls=Interruptible,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        help="Saldo keeps users' balances: exactly once, never negative, at any date.",
        epilog=EXITS,
    )
    # With one command alone, its name would not be asked for.
    app.callback()(_nothing)
    for name in names:
        command = COMMANDS[name]
        module = import_module(f"saldo.cli.{command.module}")
        if command.name is None:
            app.add_typer(module.app, name=name, rich_help_panel=command.panel)
            continue
        register = app.command(
            name,
            cls=Unsigned if command.panel == MONEY else None,
            rich_help_panel=command.panel,
            epilog=_shown(command.examples),
        )
        register(getattr(module, command.name))
    return app


class Interruptible(TyperGroup):
    """Ctrl-C ends any command in good order, with a code that says so."""

    def list_commands(self, ctx: Any) -> list[str]:
        """In our order."""
        return [name for name in COMMANDS if name in self.commands]

    def invoke(self, ctx: Any) -> Any:
        """Runs the command."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _end(CommandError("interrupted", Exit.INTERRUPTED))


class Unsigned(TyperCommand):
    """Says of a number below zero what is wrong with it: it would be taken for an option."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """
        Raises:
            CommandError: there is one, and not as the value of an option.
        """
        words = args[: args.index("--")] if "--" in args else args
        for before, word in zip(["", *words], words, strict=False):
            if _BELOW_ZERO.fullmatch(word) and not before.startswith("--"):
                raise CommandError(
                    f"{word}: neither an amount nor a user's id is below zero", Exit.USAGE
                )
        return super().parse_args(ctx, args)


def _end(error: CommandError) -> NoReturn:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print(f"saldo: {error}", file=sys.stderr)  # noqa: T201
    sys.exit(error.code)


def _shown(examples: Sequence[str]) -> str:
    # The help makes a line of each paragraph.
    return "\n\n".join(("Examples:", *(f"  {each}" for each in examples)))


def _nothing() -> None:
    pass
