"""Which service a command talks to: the one that is named, one that answers on this machine, or one of its own."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from importlib.metadata import version
from pathlib import Path
from typing import Annotated, Final, NamedTuple, TypeAlias

import httpx
import typer

from saldo import settings as settings_module
from saldo.announcement import announced_url
from saldo.cli.child import child_service
from saldo.cli.exits import CommandError, Exit
from saldo.cli.output import note
from saldo.client.network import checked_url
from saldo.client.retry import Retries
from saldo.client.synchronous.client import Client
from saldo.client.synchronous.connection import Connection

DEFAULT_URL: Final = "http://127.0.0.1:8000"
LOOK_SECONDS: Final = 2.0
"""For a service of this machine to say that it is one."""

TIMEOUT_SECONDS: Final = 30.0
"""For a call with all its attempts, unless a command is more patient."""

_PANEL: Final = "Which service"
_KEY: Final = re.compile(r"[!-~]{1,8192}", re.ASCII)

Url: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="SALDO_URL",
        help="Where the service is. Not given: the one on this machine; if none runs, one is started on the "
        "data directory (SALDO_DATA_DIR) for as long as this takes.",
        rich_help_panel=_PANEL,
    ),
]
Key: TypeAlias = Annotated[
    str | None,
    typer.Option(
        envvar="SALDO_KEY",
        help="The key, as `saldo keys create` printed it; only a service that --url names gets it. Others on this "
        "machine see what is on a command line: rather use the variable, or --key-file.",
        rich_help_panel=_PANEL,
    ),
]
KeyFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        envvar="SALDO_KEY_FILE", help="A file with the key in it.", rich_help_panel=_PANEL
    ),
]


class Target(NamedTuple):
    """What the options say of the service."""

    url: str | None
    key: str | None
    key_file: Path | None


class Service(NamedTuple):
    """A service that is connected to.

    Attributes:
        connection: for what the client has no method for.
        name: the same for the same ledger, as far as that can be told: an import is not resumed at another.
    """

    client: Client
    connection: Connection
    name: str


@contextmanager
def connected(target: Target, *, timeout_seconds: float = TIMEOUT_SECONDS) -> Iterator[Service]:
    """The service for a command.

    Args:
        timeout_seconds: how long a call goes on trying.

    Raises:
        CommandError: there is none.
    """
    # What was begun is ended in good order, as at Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    key = _key_of(target)
    retries = Retries(timeout_seconds=timeout_seconds)
    if target.url is not None:
        with _client(_checked(target.url), key, retries) as (client, connection):
            yield Service(client, connection, target.url.rstrip("/"))
        return
    settings = settings_module.load()
    # Of a database of the operator's own the connection string is not to be written anywhere.
    name = "SALDO_DATABASE_URL" if settings.database_url else str(settings.data_dir.resolve())
    announced = None if settings.database_url else announced_url(settings.data_dir)
    for url in (announced, DEFAULT_URL):
        if url is not None and _answers(url):
            note(f"saldo: using the service at {url}")
            # Without the key: whoever listens there now may be anybody, and has only said that it is one of us.
            with _client(url, None, retries) as (client, connection):
                yield Service(client, connection, name if url == announced else url)
            return
    where = "the database of SALDO_DATABASE_URL" if settings.database_url else settings.data_dir
    note(f"saldo: no service runs; starting one on {where} for this command")
    with (
        child_service() as child,
        _client(child.url, child.key, retries) as (client, connection),
    ):
        yield Service(client, connection, name)


@contextmanager
def _client(url: str, key: str | None, retries: Retries) -> Iterator[tuple[Client, Connection]]:
    headers = {"user-agent": f"saldo-cli/{version('saldo')}"}
    if key is not None:
        headers["authorization"] = f"Bearer {key}"

    def make(limits: httpx.Limits) -> httpx.Client:
        return httpx.Client(base_url=url, headers=headers, limits=limits)

    with (
        Client(url, key=key, retries=retries) as client,
        closing(Connection(make, retries)) as connection,
    ):
        yield client, connection


def _answers(url: str) -> bool:
    """Whether a service of Saldo is there."""
    with suppress(httpx.HTTPError, ValueError):
        answer = httpx.get(f"{url}/healthz/live", timeout=LOOK_SECONDS)
        return bool(answer.status_code == 200 and answer.json() == {"status": "ok"})
    return False


def _key_of(target: Target) -> str | None:
    key = target.key
    if key is None and target.key_file is not None:
        try:
            key = target.key_file.read_text("utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no text"
            raise CommandError(f"--key-file {target.key_file}: {reason}", Exit.USAGE) from None
    # What is not shown here: the key.
    if key is not None and not _KEY.fullmatch(key):
        raise CommandError("the key has characters that no key has", Exit.USAGE)
    return key


def _checked(url: str) -> str:
    with suppress(ValueError):
        if not httpx.URL(checked_url(url)).userinfo:
            return url
    raise CommandError("--url: expected such as http://localhost:8000", Exit.USAGE)
