"""`saldo db` manages the database without the service."""

from __future__ import annotations

from typing import Annotated

import typer

from saldo.bootstrap.database import Database, Purpose
from saldo.bootstrap.logging_setup import set_up_logging
from saldo.cli.options import Json
from saldo.cli.output import print_confirmation, print_json
from saldo.settings import model as settings_module
from saldo.settings.model import Settings
from saldo.store.citus.setup import distribute as distribute_ledger
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import ConfigurationError
from saldo.store.schema.roles import Roles

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Manage the database."""


@app.command()
def migrate(json_: Json = False) -> None:
    """Migrate the schema to this version, and grant the service role its rights.

    `saldo serve` does the same when it starts. After this command it does not need the owner's URL.
    """
    settings = settings_module.load()
    set_up_logging(settings)
    with Database(settings, beside_service=True):
        print_confirmation(
            "the database is ready for this version", {"state": "ready"}, as_json=json_
        )


@app.command()
def roles(
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Grant the service role its rights, as the owner, and revoke all others.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Print the SQL that creates the two roles and their grants, with the names from the connection strings."""
    settings = settings_module.load()
    named = _roles_of(settings)
    names = {"owner": named.owner, "service": named.service}
    if not apply:
        if json_:
            print_json(names | {"sql": named.to_sql()})
        else:
            print(named.to_sql(), end="")  # noqa: T201 - for psql
        return
    set_up_logging(settings)
    database = Database(settings, beside_service=True, purpose=Purpose.GRANT)
    with database:
        named.apply(database.owner_url)
    line = f"{named.service} has what the service needs, and no more"
    print_confirmation(line, names | {"state": "granted"}, as_json=json_)


@app.command()
def distribute(json_: Json = False) -> None:
    """Distribute the ledger over the workers of a Citus cluster. This database must be its coordinator.

    Stop every other client of the database first. The command takes as long as copying the log. Only a restore can
    undo it.
    """
    settings = settings_module.load()
    set_up_logging(settings)
    if settings.database_url is None:
        raise ConfigurationError(
            "SALDO_DATABASE_URL must name the coordinator; the embedded PostgreSQL has no Citus"
        )
    database = Database(settings)
    with database as service_url:
        done = distribute_ledger(database.owner_url, service_url)
    line = f"{done.entries:,} entries in {done.shards} shards on {done.workers} workers"
    print_confirmation(line, done._asdict(), as_json=json_)


def _roles_of(settings: Settings) -> Roles:
    if settings.database_url is None:
        server = EmbeddedServer(settings.data_dir)
        return Roles.of(server.owner_url, server.service_url)
    return Roles.of(settings.database_owner_url or settings.database_url, settings.database_url)
