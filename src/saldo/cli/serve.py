"""`saldo serve`: the database, the migrations, the service; and their end."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, nullcontext, suppress
from ipaddress import ip_address
from typing import Annotated

import typer

from saldo import settings as settings_module
from saldo.announcement import announced
from saldo.beside import RelayProcess
from saldo.bootstrap.access import refuse_to_be_open
from saldo.bootstrap.database import Database
from saldo.bootstrap.logs import set_up_logging
from saldo.server import bind, serve_until_stopped
from saldo.settings import Settings
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
    certificates = Certificates.of(settings)
    listening = bind(settings.host, settings.port)
    with Database(settings) as database_url:
        refuse_to_be_open(settings, database_url, listening.getsockname()[0])
        with (
            RelayProcess(settings, database_url) as relay,
            _announced(settings, listening, "http" if certificates is None else "https"),
        ):
            serve_until_stopped(settings, database_url, listening, relay.bell_path)


def _announced(
    settings: Settings, listening: socket.socket, scheme: str
) -> AbstractContextManager[None]:
    """To commands of this machine, where the data is this machine's."""
    if settings.database_url is not None:
        return nullcontext()
    return announced(
        settings.data_dir, f"{scheme}://{_reached(settings.host)}:{listening.getsockname()[1]}"
    )


def _reached(host: str) -> str:
    """How an address that is listened on is reached from here."""
    with suppress(ValueError):
        if not host or ip_address(host).is_unspecified:
            return "[::1]" if ":" in host else "127.0.0.1"
    return f"[{host}]" if ":" in host else host
