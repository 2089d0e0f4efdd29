"""`saldo db`: the database without the service."""

from __future__ import annotations

import typer
from rich.console import Console

from saldo import settings as settings_module
from saldo.bootstrap import Database
from saldo.server import set_up_logging

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Look after the database."""


@app.command()
def migrate() -> None:
    """Bring the schema to this version, grant the service's role its rights, and end.

    `saldo serve` does the same at its start; after this it finds it done, and needs no owner's URL.
    """
    settings = settings_module.load()
    set_up_logging(settings)
    with Database(settings, beside_service=True):
        Console().print("the database is ready for this version")
