"""`saldo db` manages the database without the service."""

from __future__ import annotations

from typing import Annotated

import typer

from saldo.bootstrap.database import Database, Purpose
from saldo.bootstrap.logging_setup import set_up_logging
from saldo.cli.connection.database import LocalDatabase, open_database
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import format_count, print_confirmation, print_json
from saldo.settings import model as settings_module
from saldo.settings.model import Settings
from saldo.store.citus.setup import distribute as distribute_ledger
from saldo.store.embedded import EmbeddedServer
from saldo.store.schema.roles import Roles

app = typer.Typer(no_args_is_help=True)


@app.callback()
def db() -> None:
    """Migrate and set up the database."""


@app.command()
def migrate(json_: Json = False, local: LocalDatabase = False) -> None:
    """Migrate the schema to this version.

    The command also grants the service role its rights. `saldo serve` does the same when it starts. After this command,
    it can start without the owner's URL.
    """
    settings = settings_module.load_settings()
    set_up_logging(settings)
    with open_database(settings, Purpose.SERVE, local=local):
        print_confirmation(
            "the schema of the database is that of this version", {"state": "ready"}, as_json=json_
        )


@app.command()
def roles(
    apply: Annotated[
        bool,
        typer.Option(
            "--apply",
            help="Connect as the owner, grant the service role its rights, and revoke all others.",
        ),
    ] = False,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Print the SQL that creates the two database roles.

    The SQL also grants the roles their rights. The names come from the connection strings.
    """
    settings = settings_module.load_settings()
    named = _load_roles(settings)
    names = {"owner": named.owner, "service": named.service}
    if not apply:
        if json_:
            print_json(names | {"sql": named.to_sql()})
        else:
            print(named.to_sql(), end="")  # noqa: T201 - for psql
        return
    set_up_logging(settings)
    database = open_database(settings, Purpose.GRANT, local=local)
    with database:
        named.apply_to_database(database.owner_role_url)
    line = f"the role {named.service} has the rights that the service needs, and no others"
    print_confirmation(line, names | {"state": "granted"}, as_json=json_)


@app.command()
def distribute(json_: Json = False) -> None:
    """Distribute the ledger over the workers of Citus.

    SALDO_DATABASE_URL must be the connection string of the coordinator. Stop all other clients of the database first.
    The command copies the log, which takes time. Only a restore can undo it.
    """
    settings = settings_module.load_settings()
    set_up_logging(settings)
    if settings.database_url is None:
        raise CommandError(
            "SALDO_DATABASE_URL must be set to the Citus coordinator, because the embedded PostgreSQL has no Citus",
            ExitCode.USAGE,
        )
    database = Database(settings)
    with database as service_role_url:
        done = distribute_ledger(database.owner_role_url, service_role_url)
    line = (
        f"distributed {format_count(done.entries, 'entry')} in {done.shards} shards over "
        f"{format_count(done.workers, 'worker')}"
    )
    print_confirmation(line, done._asdict(), as_json=json_)


def _load_roles(settings: Settings) -> Roles:
    if settings.database_url is None:
        server = EmbeddedServer(settings.data_dir)
        return Roles.from_urls(server.owner_role_url, server.service_role_url)
    return Roles.from_urls(
        settings.database_owner_url or settings.database_url, settings.database_url
    )
