"""`saldo keys`: who may ask, of the database itself: the first key can't be made over HTTP from elsewhere."""

from __future__ import annotations

from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, TypeVar

import typer
from rich.console import Console
from rich.table import Table

from saldo import settings as settings_module
from saldo.access.secret import digest_of, new_secret
from saldo.bootstrap.access import key_store
from saldo.cli.asking import ask
from saldo.cli.options import Json
from saldo.cli.output import confirm, print_json
from saldo.http.key_wire import key_reading, read_new_key
from saldo.http.wire import InvalidError
from saldo.store.errors import SetUpError
from saldo.store.keys import Key, TooManyKeysError

T = TypeVar("T")

ROWS_MAX = 1000
"""Of what is printed; the API has pages."""

app = typer.Typer(help="Make, replace and revoke the keys that open the API.", no_args_is_help=True)

KeyId = Annotated[int, typer.Argument(help="Id, as `saldo keys list` shows it.", min=1)]


@app.command()
def create(
    name: Annotated[str, typer.Argument(help="Whose it is, for people.")],
    scope: Annotated[
        list[str], typer.Option(help="read, write, metrics or admin; may be given several times.")
    ],
    user: Annotated[
        list[str] | None,
        typer.Option(help="Only about this user; may be given several times. Not given: all."),
    ] = None,
    network: Annotated[
        list[str] | None,
        typer.Option(
            help="Only from there, such as 192.0.2.0/24; may be given several times. Not given: anywhere."
        ),
    ] = None,
    expires_at: Annotated[
        str | None, typer.Option(help="Until when, such as 2027-01-01. Not given: for ever.")
    ] = None,
    json_: Json = False,
) -> None:
    """Make a key. It is printed once: what is kept is a hash of it."""
    settings = settings_module.load()
    fields = {
        "name": name,
        "scopes": scope,
        "user_ids": user or None,
        "networks": network or None,
        "expires_at": expires_at,
    }
    try:
        wanted = read_new_key(fields, key_reading(settings))
    except InvalidError as error:
        raise SetUpError(str(error)) from None
    secret = new_secret()
    try:
        key_id = ask(
            settings,
            key_store,
            lambda keys: keys.create(
                wanted, digest_of(secret.encode()), keys_max=settings.keys_max
            ),
        )
    except TooManyKeysError:
        raise SetUpError(
            f"there are {settings.keys_max} valid keys already (SALDO_KEYS_MAX)"
        ) from None
    _say_made(key_id, secret, as_json=json_)


@app.command("list")
def list_(json_: Json = False) -> None:
    """Show all keys, revoked and expired ones too."""
    found = ask(
        settings_module.load(), key_store, lambda keys: keys.page(after_id=0, limit=ROWS_MAX)
    )
    if json_:
        for key in found:
            print_json(asdict(key))
        return
    table = Table("id", "name", "scopes", "users", "networks", "made", "expires", "state")
    for key in found:
        table.add_row(
            str(key.id),
            key.name,
            ", ".join(key.scopes),
            "all" if key.user_ids is None else ", ".join(map(str, key.user_ids)),
            "any" if key.networks is None else ", ".join(key.networks),
            _written(key.created_at),
            _written(key.expires_at),
            _state(key),
        )
    Console().print(table)
    if len(found) == ROWS_MAX:
        Console().print(f"only the first {ROWS_MAX:,}")


@app.command()
def revoke(key_id: KeyId, json_: Json = False) -> None:
    """Let nobody in with it any more. Processes that serve know of it after SALDO_KEYS_REFRESH_SECONDS."""
    settings = settings_module.load()
    if not ask(settings, key_store, lambda keys: keys.revoke(key_id)):
        if ask(settings, key_store, lambda keys: keys.get(key_id)) is None:
            raise _unknown(key_id)
        raise SetUpError(f"key {key_id} was revoked before")
    confirm(f"key {key_id} is revoked", {"id": key_id, "state": "revoked"}, as_json=json_)


@app.command()
def rotate(
    key_id: KeyId,
    overlap_seconds: Annotated[
        int | None,
        typer.Option(
            help="How long the old one stays valid (SALDO_KEY_OVERLAP_SECONDS).",
            min=0,
            max=31_536_000,
        ),
    ] = None,
    json_: Json = False,
) -> None:
    """Make a key of the same rights in place of another, which stays valid for a while. It is printed once."""
    settings = settings_module.load()
    seconds = settings.key_overlap_seconds if overlap_seconds is None else overlap_seconds
    secret = new_secret()
    digest, overlap = digest_of(secret.encode()), timedelta(seconds=seconds)
    new_id = ask(settings, key_store, lambda keys: keys.rotate(key_id, digest, overlap))
    if new_id is None:
        if ask(settings, key_store, lambda keys: keys.get(key_id)) is None:
            raise _unknown(key_id)
        raise SetUpError(
            f"key {key_id} was revoked, has expired, or another one has taken its place already"
        )
    _say_made(new_id, secret, as_json=json_)


def _say_made(key_id: int, secret: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"id": key_id, "key": secret})
        return
    # One line, and the key its last word: scripts cut it off.
    Console().print(f"key {key_id}: {secret}", soft_wrap=True, highlight=False)


def _state(key: Key) -> str:
    if key.revoked_at is not None:
        return "revoked"
    if not key.valid:
        return "expired"
    return "valid" if key.replaced_by is None else f"valid, replaced by {key.replaced_by}"


def _unknown(key_id: int) -> SetUpError:
    return SetUpError(f"there is no key {key_id}")


def _written(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant:%Y-%m-%d %H:%M:%S}"
