"""`saldo serve` starts the database, migrates it, and runs the service until it is stopped."""

from __future__ import annotations

import socket
from contextlib import AbstractContextManager, nullcontext, suppress
from ipaddress import ip_address
from typing import Annotated

import typer

from saldo.bootstrap.auth import require_keys_unless_loopback
from saldo.bootstrap.database import Database
from saldo.bootstrap.heads import check_head_keys
from saldo.bootstrap.logging_setup import set_up_logging
from saldo.cli.connection.service_url_file import announce_url
from saldo.cli.root_account import refuse_root, warn_about_root
from saldo.server.http_server import bind_socket, serve_until_stopped
from saldo.server.relay_process import RelayProcess
from saldo.server.tls import Certificates
from saldo.settings import model as settings_module
from saldo.settings.model import Settings


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on (SALDO_HOST).")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on (SALDO_PORT).")] = None,
    workers: Annotated[
        int | None, typer.Option(help="Number of service processes (SALDO_WORKERS).")
    ] = None,
    insecure: Annotated[
        bool | None,
        typer.Option(
            "--insecure",
            help="Allow requests without authentication while there is no key (SALDO_INSECURE).",
        ),
    ] = None,
    as_root: Annotated[
        bool | None,
        typer.Option("--as-root", help="Allow the service to run as root (SALDO_AS_ROOT)."),
    ] = None,
) -> None:
    """Run the service until it is stopped.

    Settings are read from the environment and from .env; .env.sample lists all of them.
    """
    settings = settings_module.load_settings(
        host=host, port=port, workers=workers, insecure=insecure, as_root=as_root
    )
    set_up_logging(settings)
    # This precedes the creation of files, because the service's own account could not use files that belong to root.
    refuse_root(settings)
    if settings.relay_enabled:
        check_head_keys(settings)
    # This precedes the start of the database, so that a port in use and an invalid certificate are reported
    # immediately.
    certificates = Certificates.from_settings(settings)
    listening = bind_socket(settings.host, settings.port)
    with Database(settings) as database_url:
        require_keys_unless_loopback(settings, database_url, listening.getsockname()[0])
        # The warning follows everything that can abort the start, because an aborted start prints one line only.
        warn_about_root()
        with (
            RelayProcess(settings, database_url) as relay,
            _announce(settings, listening, "http" if certificates is None else "https"),
        ):
            serve_until_stopped(settings, database_url, listening, relay.wakeup_path)


def _announce(
    settings: Settings, listening: socket.socket, scheme: str
) -> AbstractContextManager[None]:
    """Announce the URL to commands on this machine while the block runs, if the database is the embedded one."""
    if settings.database_url is not None:
        return nullcontext()
    return announce_url(
        settings.data_dir,
        f"{scheme}://{_get_reachable_host(settings.host)}:{listening.getsockname()[1]}",
    )


def _get_reachable_host(host: str) -> str:
    """Return the host name under which clients on this machine reach the service. `host` is the address that the
    service listens on."""
    with suppress(ValueError):
        if not host or ip_address(host).is_unspecified:
            return "[::1]" if ":" in host else "127.0.0.1"
    return f"[{host}]" if ":" in host else host
