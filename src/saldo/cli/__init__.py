"""The command line. One file a command."""

from __future__ import annotations

import sys

import typer

from saldo.cli import audit, db, keys, relay, webhooks
from saldo.cli.backup import backup, restore, upgrade
from saldo.cli.serve import serve
from saldo.cli.verify import verify
from saldo.settings import WrongSettingsError
from saldo.store.errors import StoreError

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Saldo keeps users' balances: exactly once, never negative, at any date.",
)
app.command()(serve)
app.command()(verify)
app.command()(backup)
app.command()(restore)
app.command()(upgrade)
app.add_typer(audit.app, name="audit")
app.add_typer(db.app, name="db")
app.add_typer(relay.app, name="relay")
app.add_typer(webhooks.app, name="webhooks")
app.add_typer(keys.app, name="keys")


def main() -> None:
    """The entry point: what the operator can mend is one line and exit code 1."""
    try:
        app()
    except (WrongSettingsError, StoreError) as error:
        print(f"saldo: {error}", file=sys.stderr)  # noqa: T201
        sys.exit(1)
