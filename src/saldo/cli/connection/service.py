"""The service that a command uses: the one in `--url`, one that runs on this machine, or with `--local` a temporary
one."""

from __future__ import annotations

import os
import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeAlias

import httpx
import typer
from pydantic import SecretStr

from saldo.cli.connection.child_service import run_child_service
from saldo.cli.connection.service_url_file import read_announced_url
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.output import print_note
from saldo.cli.signals import TERMINATION
from saldo.client.connection_options import (
    check_url,
    create_tls_context,
    find_proxy_variable,
    is_direct,
)
from saldo.client.retry import Retries
from saldo.client.synchronous.client import Client
from saldo.client.synchronous.connection import Connection
from saldo.settings import model as settings_module
from saldo.version import VERSION

DEFAULT_URL: Final = "http://127.0.0.1:8000"
PROBE_SECONDS_MAX: Final = 2.0
"""Timeout for the probe of a service on this machine, in seconds."""

TIMEOUT_SECONDS: Final = 30.0
"""Default timeout of a call with all its attempts, in seconds."""

_PANEL: Final = "Service"
_KEY: Final = re.compile(r"[!-~]{1,8192}", re.ASCII)

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="URL of the service (SALDO_URL). The default is the service that runs on this machine.",
        rich_help_panel=_PANEL,
    ),
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="API key, as printed by `saldo keys create` (SALDO_KEY). It is sent only to the service at --url. Other "
        "users of this machine can read command lines, so SALDO_KEY or --key-file is safer.",
        rich_help_panel=_PANEL,
    ),
]
KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="File that contains the API key (SALDO_KEY_FILE).", rich_help_panel=_PANEL),
]
Local: TypeAlias = Annotated[
    bool,
    typer.Option(
        "--local",
        help="Use the ledger in the data directory of this machine (SALDO_DATA_DIR). If no service is running on it, "
        "the command starts a temporary one and stops it at the end.",
        rich_help_panel=_PANEL,
    ),
]


class ServiceOptions(NamedTuple):
    """The options that select the service and the key."""

    url: str | None
    key: str | None
    key_file: Path | None
    local: bool


class ConnectedService(NamedTuple):
    """A service that the command is connected to.

    Attributes:
        connection: The connection for requests that the client has no method for.
        name: A name that identifies the ledger, as far as that is known. An import is resumed only under the same name.
    """

    client: Client
    connection: Connection
    name: str


@contextmanager
def connect(
    target: ServiceOptions, *, timeout_seconds: float = TIMEOUT_SECONDS
) -> Iterator[ConnectedService]:
    """Connect to the service of a command.

    Args:
        timeout_seconds: The timeout of a call with all its attempts.

    Raises:
        CommandError: The options are invalid, no service is running, or no service could be started.
        SettingsError: A setting is misspelt or invalid.
    """
    # SIGTERM stops the command in the same orderly way as Ctrl-C.
    signal.signal(signal.SIGTERM, TERMINATION)
    retries = Retries(timeout_seconds=timeout_seconds)
    url = find_url(target)
    if url is not None:
        _check_url(url)
        with _open_client(url, _find_key(target), retries) as (client, connection):
            yield ConnectedService(client, connection, url.rstrip("/"))
        return
    settings = settings_module.load_settings()
    # The connection string of the operator's database must not be written to any file.
    name = "SALDO_DATABASE_URL" if settings.database_url else str(settings.data_dir.resolve())
    announced = None if settings.database_url else read_announced_url(settings.data_dir)
    # The service at the default URL may have another ledger.
    for running_url in (announced, None if target.local else DEFAULT_URL):
        if running_url is not None and _is_saldo(running_url):
            not_sent = f", without the key: to send it, name the service with --url {running_url}"
            print_note(
                f"saldo: using the service at {running_url}{not_sent if _has_key(target) else ''}"
            )
            # No proxy is used: the service runs on this machine, whatever its address is, and this process contacts no
            # other host.
            os.environ["NO_PROXY"] = os.environ["no_proxy"] = "*"
            # No key is sent, because any process may be listening at this address and may only pretend to be Saldo.
            with _open_client(running_url, None, retries) as (client, connection):
                yield ConnectedService(
                    client, connection, name if running_url == announced else running_url
                )
            return
    where = "the database of SALDO_DATABASE_URL" if settings.database_url else settings.data_dir
    if not target.local:
        raise CommandError(
            f"no service is running on this machine: start `saldo serve`, name the service with --url or SALDO_URL, "
            f"or use --local to start a temporary service on {where}",
            ExitCode.UNAVAILABLE,
        )
    print_note(f"saldo: no service is running; starting a temporary one on {where}")
    with (
        run_child_service() as child,
        _open_client(child.url, child.key, retries) as (client, connection),
    ):
        yield ConnectedService(client, connection, name)


def find_url(target: ServiceOptions) -> str | None:
    """Return the URL that the options, the environment or `.env` name; None if they name none, or with --local.

    Raises:
        CommandError: --url and --local are combined.
        SettingsError: The name of a setting is misspelt.
    """
    # A misspelt SALDO_URL must not select another ledger.
    settings_module.check_setting_names()
    if target.local:
        if target.url is not None:
            raise CommandError("--local can't be combined with --url", ExitCode.USAGE)
        return None
    return target.url or settings_module.load_command_settings().url


@contextmanager
def _open_client(
    url: str, key: str | None, retries: Retries
) -> Iterator[tuple[Client, Connection]]:
    headers = {"user-agent": f"saldo-cli/{VERSION}"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"
    context = create_tls_context(url)

    def create_http_client(limits: httpx.Limits) -> httpx.Client:
        return httpx.Client(
            base_url=url,
            headers=headers,
            verify=context,
            limits=limits,
            trust_env=not is_direct(url),
        )

    try:
        client = Client(url, key=key, retries=retries, verify=context)
    except ValueError as error:  # a proxy in the environment can't be used
        raise CommandError(str(error), ExitCode.USAGE) from None
    with (
        client,
        closing(Connection(create_http_client, retries, find_proxy_variable(url))) as connection,
    ):
        yield client, connection


def _is_saldo(url: str) -> bool:
    """Return whether a service of Saldo answers at the URL."""
    with suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(
            f"{url}/healthz/live",
            timeout=PROBE_SECONDS_MAX,
            trust_env=False,
            verify=create_tls_context(url),
        )
        return bool(answer.status_code == 200 and answer.json() == {"status": "ok"})
    return False


def _find_key(target: ServiceOptions) -> str | None:
    """Return the key for the service at the named URL.

    Raises:
        CommandError: The key can't be read or is invalid, or it must not be sent to this URL.
    """
    settings = settings_module.load_command_settings()
    environment = settings_module.load_command_settings_of_environment()
    given = ServiceOptions(
        target.url or environment.url,
        target.key or _get_secret_value(environment.key),
        target.key_file or environment.key_file,
        target.local,
    )
    if given.key is None and given.key_file is None:
        return _read_key(_get_secret_value(settings.key), settings.key_file)
    if given.url is None:
        raise CommandError(
            "the key is not sent to the URL in .env (SALDO_URL), which others may have written: name the URL with "
            "--url or in the environment, or put the key into .env, too",
            ExitCode.USAGE,
        )
    return _read_key(given.key, given.key_file)


def _has_key(target: ServiceOptions) -> bool:
    settings = settings_module.load_command_settings()
    return any((target.key, target.key_file, settings.key, settings.key_file))


def _get_secret_value(key: SecretStr | None) -> str | None:
    return None if key is None else key.get_secret_value()


def _read_key(key: str | None, key_file: Path | None) -> str | None:
    if key is None and key_file is not None:
        try:
            key = key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "the file is not text"
            raise CommandError(f"--key-file {key_file}: {reason}", ExitCode.USAGE) from None
    # The message does not show the key.
    if key is not None and not _KEY.fullmatch(key):
        raise CommandError(
            "the key contains invalid characters (--key-file, --key or SALDO_KEY)", ExitCode.USAGE
        )
    return key


def _check_url(url: str) -> None:
    with suppress(ValueError):
        if not httpx.URL(check_url(url)).userinfo:
            return
    raise CommandError(
        "--url: expected a URL such as http://localhost:8000, without a user or password",
        ExitCode.USAGE,
    )
