"""`saldo deposit` and `saldo withdraw`: the two ways that money moves."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from saldo.cli.clock import optional_instant
from saldo.cli.connecting import TIMEOUT_SECONDS, Key, KeyFile, Target, Url, connected
from saldo.cli.exits import CommandError, Exit
from saldo.cli.options import Json, UserId
from saldo.cli.output import money, print_json, say
from saldo.client.errors import RefusedError
from saldo.client.requests import Deposit, Request, Withdrawal

Amount: TypeAlias = Annotated[
    str, typer.Argument(help="Digits and at most one point: 100 or 100.50.")
]
Timestamp: TypeAlias = Annotated[
    str | None, typer.Option(help="When it takes effect, also in the past. Not given: now.")
]
Uuid: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="What it is known by: repeated with the same, it is processed once. Not given: a new one."
    ),
]
Timeout: TypeAlias = Annotated[
    float, typer.Option(help="Seconds to go on trying while there is no answer.", min=0.1)
]


def deposit(
    user_id: UserId,
    amount: Amount,
    timestamp: Timestamp = None,
    uuid: Uuid = None,
    timeout: Timeout = TIMEOUT_SECONDS,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Put money in.

    The uuid is printed. After a lost connection, the same command with --uuid and that uuid can't do it twice.
    """
    target = Target(url, key, key_file)
    _post(Deposit, user_id, amount, timestamp, uuid, target, timeout, as_json=json_)


def withdraw(
    user_id: UserId,
    amount: Amount,
    timestamp: Timestamp = None,
    uuid: Uuid = None,
    timeout: Timeout = TIMEOUT_SECONDS,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """Take money out; refused (exit code 1) when the balance does not cover it.

    A refusal is final under its uuid: to try again, use a new one.
    """
    target = Target(url, key, key_file)
    _post(Withdrawal, user_id, amount, timestamp, uuid, target, timeout, as_json=json_)


def _post(
    kind: type[Request],
    user_id: int,
    amount: str,
    timestamp: str | None,
    uuid: str | None,
    target: Target,
    timeout_seconds: float,
    *,
    as_json: bool,
) -> None:
    request = kind(
        user_id,
        amount,
        timestamp=optional_instant("--timestamp", timestamp),
        uuid=None if uuid is None else _uuid(uuid),
    )
    with connected(target, timeout_seconds=timeout_seconds) as service:
        try:
            done = service.client.post(request)
        except RefusedError as error:
            if as_json:
                print_json(error.details)
            raise CommandError(f"{error} uuid {request.uuid}") from None
    if as_json:
        print_json(done)
        return
    again = ", as it was before: this uuid is known" if done.replayed else ""
    verb = "deposited" if done.type == "DEPOSIT" else "withdrawn"
    say(f"{verb} {money(done.amount)}, balance {money(done.balance)}, uuid {done.uuid}{again}")


def _uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        example = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
        raise CommandError(f"--uuid {text!r}: expected such as {example}", Exit.USAGE) from None
