"""`saldo serve`: the database, the migrations, the service; and their end."""

from __future__ import annotations

from typing import Annotated

import typer

from saldo import settings as settings_module
from saldo.beside import RelayProcess
from saldo.bootstrap.access import refuse_to_be_open
from saldo.bootstrap.database import Database
from saldo.bootstrap.logs import set_up_logging
from saldo.server import bind, serve_until_stopped
from saldo.tls import Certificates


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (SALDO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (SALDO_PORT).")] = None,
    workers: Annotated[int | None, typer.Option(help="Service processes (SALDO_WORKERS).")] = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure", help="Without a key, let in whoever reaches the address (SALDO_INSECURE)."
        ),
    ] = None,
) -> None:
    """Run the service. Settings come from the environment and .env; see .env.sample."""
    settings = settings_module.load(host=host, port=port, workers=workers, insecure=insecure)
    set_up_logging(settings)
    # Before the database: a busy port and a wrong certificate are found at once.
    Certificates.of(settings)
    listening = bind(settings.host, settings.port)
    with Database(settings) as database_url:
        refuse_to_be_open(settings, database_url, listening.getsockname()[0])
        with RelayProcess(settings, database_url) as relay:
            serve_until_stopped(settings, database_url, listening, relay.bell_path)
