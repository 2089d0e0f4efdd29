"""`saldo db`: the database without the service."""

from __future__ import annotations

from typing import Annotated

import typer

from saldo import settings as settings_module
from saldo.bootstrap.database import Database
from saldo.bootstrap.logs import set_up_logging
from saldo.cli.options import Json
from saldo.cli.output import confirm, print_json
from saldo.settings import Settings
from saldo.store.distributed.distribute import distribute as distribute_ledger
from saldo.store.embedded import EmbeddedServer
from saldo.store.errors import SetUpError
from saldo.store.roles import Roles

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Look after the database."""


@app.command()
def migrate(json_: Json = False) -> None:
    """Bring the schema to this version, grant the service's role its rights, and end.

    `saldo serve` does the same at its start; after this it finds it done, and needs no owner's URL.
    """
    settings = settings_module.load()
    set_up_logging(settings)
    with Database(settings, beside_service=True):
        confirm("the database is ready for this version", {"state": "ready"}, as_json=json_)


@app.command()
def roles(
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Grant, as the owner, what the service needs, and revoke all else that it has.",
        ),
    ] = False,
    json_: Json = False,
) -> None:
    """Print the SQL that makes the two roles and their grants, with the names of the connection strings."""
    settings = settings_module.load()
    named = _roles_of(settings)
    names = {"owner": named.owner, "service": named.service}
    if not apply:
        if json_:
            print_json(names | {"sql": named.written()})
        else:
            print(named.written(), end="")  # noqa: T201 - for psql
        return
    set_up_logging(settings)
    database = Database(settings, beside_service=True)
    with database:
        named.apply(database.owner_url)
    line = f"{named.service} has what the service needs, and no more"
    confirm(line, names | {"state": "granted"}, as_json=json_)


@app.command()
def distribute(json_: Json = False) -> None:
    """Distribute the ledger over the workers of a Citus cluster, of which this database is the coordinator.

    Stop everything else that uses it first. Takes as long as copying the log. There is no way back but a restore.
    """
    settings = settings_module.load()
    set_up_logging(settings)
    if settings.database_url is None:
        raise SetUpError(
            "SALDO_DATABASE_URL: the coordinator; the embedded PostgreSQL has no Citus"
        )
    database = Database(settings)
    with database as service_url:
        done = distribute_ledger(database.owner_url, service_url)
    line = f"{done.entries:,} entries in {done.shards} shards on {done.workers} workers"
    confirm(line, done._asdict(), as_json=json_)


def _roles_of(settings: Settings) -> Roles:
    if settings.database_url is None:
        server = EmbeddedServer(settings.data_dir)
        return Roles.of(server.owner_url, server.service_url)
    return Roles.of(settings.database_owner_url or settings.database_url, settings.database_url)
