"""`saldo user` creates and shows users."""

from __future__ import annotations

from itertools import islice
from typing import Annotated

import typer

from saldo.cli.connection.service import Key, KeyFile, Local, ServiceOptions, Url, connect
from saldo.cli.exit_codes import CommandError
from saldo.cli.options import Json, UserId
from saldo.cli.output import print_fields, print_json, print_note, print_table
from saldo.client.errors import NameTakenError
from saldo.client.models import User

PAGE_ITEMS = 1000

app = typer.Typer(help="Create users and show them with their balances.", no_args_is_help=True)


@app.command(epilog="Example: saldo user create customer-4711")
def create(
    name: Annotated[str, typer.Argument(help="Unique name of 1 to 200 characters.")],
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Create a user with a balance of zero."""
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        try:
            found = service.client.create_user(name)
        except NameTakenError as error:
            made = (
                "; a previous attempt of this command may have created it, because its response was lost"
                if error.perhaps_ours
                else ""
            )
            raise CommandError(f"the name is already used by user {error.user_id}{made}") from None
    _print_user(found, as_json=json_)


@app.command(epilog="Example: saldo user show 1")
def show(
    user_id: UserId,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """Show one user with the current balance."""
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        user = service.client.user(user_id)
    _print_user(user, as_json=json_)


@app.command("list", epilog="Example: saldo user list --limit 20")
def list_(
    name: Annotated[str | None, typer.Option(help="Show only the user with this name.")] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Maximum number of users. The default is 100, and no limit with --json.", min=1
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """List users by id, with their current balances."""
    shown_max = limit if limit is not None or json_ else 100
    page = PAGE_ITEMS if shown_max is None else min(shown_max + 1, PAGE_ITEMS)
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        users = iter(service.client.users(name=name, limit=page))
        found = islice(users, shown_max)
        if json_:
            for user in found:
                print_json(user)
            return
        rows = [(user.id, user.name, user.balance, user.created_at) for user in found]
        more = limit is None and next(users, None) is not None
    print_table(("id", "name", "balance", "created"), rows)
    if more:
        print_note(f"only the first {shown_max} users are shown; use --limit to show more")


def _print_user(user: User, *, as_json: bool) -> None:
    if as_json:
        print_json(user)
        return
    fields = (
        ("id", user.id),
        ("name", user.name),
        ("balance", user.balance),
        ("created", user.created_at),
    )
    print_fields(fields)
