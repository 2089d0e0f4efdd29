"""`saldo seals` manages the key that signs heads."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from saldo.bootstrap.heads import create_private_key, load_private_key
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import print_confirmation
from saldo.settings import model as settings_module

app = typer.Typer(help="Manage the key that signs heads of the ledger.", no_args_is_help=True)


@app.callback()
def seals() -> None:
    """Manage the key that signs heads of the ledger."""


@app.command()
def key(
    file: Annotated[
        Path | None,
        typer.Option(help="File with the private key. The default is SALDO_SEALS_KEY_FILE."),
    ] = None,
    create: Annotated[
        bool,
        typer.Option("--create", help="Create the file with a new key. It must not exist."),
    ] = False,
    json_: Json = False,
) -> None:
    """Print the public key that `saldo verify --seals` needs.

    The service is not asked, and the private key is not printed.
    """
    path = file or settings_module.load_settings().seals_key_file
    if path is None:
        raise CommandError("set SALDO_SEALS_KEY_FILE, or use --file", ExitCode.USAGE)
    private_key = create_private_key(path) if create else load_private_key(path)
    public_key = private_key.public_key().public_bytes_raw().hex()
    print_confirmation(public_key, {"key": public_key, "file": str(path)}, as_json=json_)
