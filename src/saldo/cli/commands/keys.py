"""`saldo keys` manages API keys directly in the database.

These commands work without a key. The first key can't be created over HTTP from another machine.
"""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import typer

from saldo.auth.api_key import generate_secret, hash_secret
from saldo.bootstrap.auth import open_key_store
from saldo.cli.connection.database import LocalDatabase, query_database
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json
from saldo.cli.output import print_confirmation, print_json, print_line, print_table
from saldo.cli.times import parse_optional_time
from saldo.ledger.instants import format_instant
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.keys import create_key_parser_options, parse_new_key_fields
from saldo.settings import model as settings_module
from saldo.settings.model import Settings
from saldo.store.keys import Key, TooManyKeysError

T = TypeVar("T")

ROWS_MAX = 1000
"""Maximum number of rows that are printed. The API can list more, because it has pagination."""

app = typer.Typer(help="Create, rotate and revoke API keys.", no_args_is_help=True)

KeyId = Annotated[int, typer.Argument(help="Id of the key, as shown by `saldo keys list`.", min=1)]


@app.command()
def create(
    name: Annotated[
        str, typer.Argument(help="Name of the key's owner, which lists and logs show.")
    ],
    scope: Annotated[
        list[str], typer.Option(help="Scope of the key: read, write, metrics or admin. Repeatable.")
    ],
    user: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit the key to this user. Repeatable. By default the key can access all users."
        ),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Limit the key to clients in this network, such as 192.0.2.0/24. Repeatable. By default it is "
            "valid everywhere."
        ),
    ] = None,
    expires_at: Annotated[
        str | None,
        typer.Option(help="Expiry of the key, such as 2027-01-01. By default it does not expire."),
    ] = None,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Create an API key and print it.

    The key is printed once and can't be shown again, because only its hash is stored.
    """
    settings = settings_module.load_settings()
    expires = parse_optional_time("--expires-at", expires_at)
    fields = {
        "name": name,
        "scopes": scope,
        "user_ids": user or None,
        "networks": network or None,
        "expires_at": None if expires is None else format_instant(expires),
    }
    try:
        new_key = parse_new_key_fields(fields, create_key_parser_options(settings))
    except InvalidRequestError as error:
        raise CommandError(str(error), ExitCode.USAGE) from None
    secret = generate_secret()
    try:
        key_id = query_database(
            settings,
            open_key_store,
            lambda keys: keys.create(
                new_key, hash_secret(secret.encode()), keys_max=settings.keys_max
            ),
            local=local,
            recovery_hint="if `saldo keys list` shows the new key, revoke it, because it was not printed; then repeat "
            "the command",
        )
    except TooManyKeysError:
        raise CommandError(
            f"the limit of {settings.keys_max} valid keys is reached: revoke a key, or raise SALDO_KEYS_MAX"
        ) from None
    _print_key(key_id, secret, as_json=json_)


@app.command("list")
def list_(json_: Json = False, local: LocalDatabase = False) -> None:
    """List all API keys, including revoked and expired ones."""
    found = query_database(
        settings_module.load_settings(),
        open_key_store,
        lambda keys: keys.list_page(after_id=0, limit=ROWS_MAX),
        read_only=True,
        local=local,
    )
    if json_:
        for key in found:
            print_json(asdict(key))
        return
    rows = [
        (
            key.id,
            key.name,
            ", ".join(key.scopes),
            "all" if key.user_ids is None else ", ".join(map(str, key.user_ids)),
            "any" if key.networks is None else ", ".join(key.networks),
            _format_time(key.created_at),
            _format_time(key.expires_at),
            _describe_state(key),
        )
        for key in found
    ]
    columns = ("id", "name", "scopes", "users", "networks", "created", "expires", "state")
    print_table(columns, rows)
    if len(found) == ROWS_MAX:
        print_line(f"only the first {ROWS_MAX:,} keys are shown; GET /v1/key lists all")


@app.command()
def revoke(key_id: KeyId, json_: Json = False, local: LocalDatabase = False) -> None:
    """Revoke an API key.

    Running services reject it after SALDO_KEYS_REFRESH_SECONDS at the latest.
    """
    settings = settings_module.load_settings()
    if not query_database(
        settings,
        open_key_store,
        lambda keys: keys.revoke(key_id),
        local=local,
        recovery_hint=f"`saldo keys list` shows whether key {key_id} is revoked; if not, repeat the command",
    ):
        _check_key_exists(settings, key_id, local=local)
        raise CommandError(f"key {key_id} is already revoked")
    print_confirmation(
        f"key {key_id} is revoked", {"id": key_id, "state": "revoked"}, as_json=json_
    )


@app.command()
def rotate(
    key_id: KeyId,
    overlap_seconds: Annotated[
        int | None,
        typer.Option(
            help="Seconds for which the old key remains valid (SALDO_KEY_OVERLAP_SECONDS).",
            min=0,
            max=31_536_000,
        ),
    ] = None,
    json_: Json = False,
    local: LocalDatabase = False,
) -> None:
    """Replace an API key by a new one with the same rights.

    The new key is printed once. The old key remains valid for --overlap-seconds.
    """
    settings = settings_module.load_settings()
    seconds = settings.key_overlap_seconds if overlap_seconds is None else overlap_seconds
    secret = generate_secret()
    digest, overlap = hash_secret(secret.encode()), timedelta(seconds=seconds)
    new_id = query_database(
        settings,
        open_key_store,
        lambda keys: keys.rotate(key_id, digest, overlap),
        local=local,
        recovery_hint=f"`saldo keys list` shows whether key {key_id} was replaced; if so, the new key was not printed, "
        "so rotate the new key; if not, repeat the command",
    )
    if new_id is None:
        _check_key_exists(settings, key_id, local=local)
        raise CommandError(
            f"key {key_id} can't be rotated, because it was revoked, has expired, or was already rotated"
        )
    _print_key(new_id, secret, as_json=json_)


def _print_key(key_id: int, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key_id, "key": secret})
        return
    # The output is one line whose last word is the key, so that scripts can extract it.
    print_line(f"key {key_id}: {secret}")


def _describe_state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.valid:
        return "expired"
    return "valid" if key.replaced_by is None else f"valid, replaced by {key.replaced_by}"


def _check_key_exists(settings: Settings, key_id: int, *, local: bool) -> None:
    key = query_database(
        settings, open_key_store, lambda keys: keys.get(key_id), read_only=True, local=local
    )
    if key is None:
        raise CommandError(f"there is no key {key_id}; `saldo keys list` lists all keys")


def _format_time(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
