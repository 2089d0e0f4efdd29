"""The application: the command that is run, and the handling of errors.

Only the command that is run is imported, so that the program starts fast. The other commands are represented by their
entries in `saldo.cli.command_table`.
"""

from __future__ import annotations

import os
import re
import signal
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Any, Final, NoReturn

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from saldo.cli.command_table import COMMANDS, MONEY
from saldo.cli.exit_codes import MEANINGS, CommandError, ExitCode
from saldo.cli.root_help import DESCRIPTION, OPTIONS, VERSION_LINE

_NEGATIVE_NUMBER: Final = re.compile(r"-\.?\d\S*", re.ASCII)

EXIT_CODES_HELP: Final = "Exit codes: " + "; ".join(
    f"{code.value} {meaning}" for code, meaning in MEANINGS.items()
)


def run() -> None:
    """Run the command. An error that the user can correct is printed as one line, with an exit code."""
    selected = select_command(_read_arguments())
    app = build_app(COMMANDS, loaded=[] if selected is None else [selected])
    try:
        app(prog_name="saldo")
    except ModuleNotFoundError:
        raise
    except Exception as error:
        _exit_with(error)


def select_command(arguments: Sequence[str]) -> str | None:
    """Return the name of the command to run; None if no command is given."""
    # The options of the program have no values, apart from the name of a shell.
    return next((each for each in arguments if each in COMMANDS), None)


def _read_arguments() -> Sequence[str]:
    """Return the arguments after `saldo`. During shell completion, the last, unfinished word is left out."""
    if "_SALDO_COMPLETE" not in os.environ:
        return sys.argv[1:]
    # Bash sets the first variable, zsh and fish set the second one.
    line = os.environ.get("COMP_WORDS") or os.environ.get("_TYPER_COMPLETE_ARGS", "")
    words = line.split()
    return words[1:] if line[-1:].isspace() else words[1:-1]


def build_app(names: Iterable[str], *, loaded: Iterable[str] | None = None) -> typer.Typer:
    """Return the program with these commands.

    Args:
        loaded: Names of the commands whose modules are imported. The others have a name and a description only. By
            default all commands are loaded.
    """
    app = typer.Typer(
        cls=CommandGroup,
        no_args_is_help=True,
        add_completion=True,
        pretty_exceptions_enable=False,
        help=DESCRIPTION,
        epilog=EXIT_CODES_HELP,
    )
    # With a callback, typer requires the command's name even if there is only one command.
    app.callback()(_root_callback)
    names = list(names)
    loaded = set(names if loaded is None else loaded)
    for name in names:
        if name in loaded:
            _load_command(app, name)
        else:
            command = COMMANDS[name]
            app.command(name, help=command.summary, rich_help_panel=command.panel)(_fail_unloaded)
    return app


def _load_command(app: typer.Typer, name: str) -> None:
    command = COMMANDS[name]
    module = import_module(f"saldo.cli.commands.{command.module}")
    if command.name is None:
        app.add_typer(module.app, name=name, rich_help_panel=command.panel)
        return
    register = app.command(
        name,
        cls=CommandWithoutNegativeNumbers if command.panel == MONEY else None,
        rich_help_panel=command.panel,
        epilog=_format_examples(command.examples),
    )
    register(getattr(module, command.name))


def _fail_unloaded() -> NoReturn:
    """Fail, because `select_command` must have selected the command."""
    raise AssertionError("the command was not loaded")


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


def _exit_with(error: Exception) -> NoReturn:
    """Print the error, and end the program with the error's exit code. An unexpected error is printed with its
    traceback."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Both modules are needed only if a command fails.
    from saldo.cli.error_mapping import find_command_error  # noqa: PLC0415
    from saldo.cli.output import escape_control_characters  # noqa: PLC0415

    command_error = find_command_error(error)
    if command_error is None:
        traceback.print_exception(error)
        sys.exit(ExitCode.INTERNAL_ERROR)
    print(f"saldo: {escape_control_characters(str(command_error))}", file=sys.stderr)  # noqa: T201
    sys.exit(command_error.code)


def _format_examples(examples: Sequence[str]) -> str:
    # The help shows each paragraph on a line of its own.
    return "\n\n".join(("Examples:", *(f"  {each}" for each in examples)))


def _print_version(requested: bool) -> None:
    if requested:
        typer.echo(VERSION_LINE)
        raise typer.Exit


def _root_callback(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help=OPTIONS["--version"], callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    pass
