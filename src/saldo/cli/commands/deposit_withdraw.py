"""`saldo deposit` and `saldo withdraw` post a transaction."""

from __future__ import annotations

from typing import Annotated, TypeAlias
from uuid import UUID

import typer

from saldo.cli.connection.service import (
    TIMEOUT_SECONDS,
    Key,
    KeyFile,
    Local,
    ServiceOptions,
    Url,
    connect,
)
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.options import Json, UserId
from saldo.cli.output import format_amount, print_json, print_line
from saldo.cli.times import parse_optional_time
from saldo.client.errors import RefusedError
from saldo.client.payloads import Deposit, TransactionRequest, Withdrawal

Amount: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Amount, with digits and at most one decimal point, such as 100 or 100.50."
    ),
]
Timestamp: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Time at which the transaction takes effect, which may be in the past. The default is the current time."
    ),
]
Uuid: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Idempotency key of the transaction: a UUID. Repeating the command with the same UUID has no "
        "further effect. "
        "The default is a new UUID."
    ),
]
Timeout: TypeAlias = Annotated[
    float, typer.Option(help="Seconds after which the request is no longer retried.", min=0.1)
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
    local: Local = False,
    json_: Json = False,
) -> None:
    """Post a deposit to a user's balance.

    The command prints the uuid. If the connection is lost, repeat the command with --uuid and that uuid. The deposit
    is then posted once only.
    """
    target = ServiceOptions(url, key, key_file, local)
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
    local: Local = False,
    json_: Json = False,
) -> None:
    """Post a withdrawal from a user's balance.

    If the balance is too low, the withdrawal is refused (exit code 1). A refusal is final for its uuid. Use another
    uuid to try again.
    """
    target = ServiceOptions(url, key, key_file, local)
    _post(Withdrawal, user_id, amount, timestamp, uuid, target, timeout, as_json=json_)


def _post(
    kind: type[TransactionRequest],
    user_id: int,
    amount: str,
    timestamp: str | None,
    uuid: str | None,
    target: ServiceOptions,
    timeout_seconds: float,
    *,
    as_json: bool,
) -> None:
    request = kind(
        user_id,
        amount,
        timestamp=parse_optional_time("--timestamp", timestamp),
        uuid=None if uuid is None else _parse_uuid(uuid),
    )
    with connect(target, timeout_seconds=timeout_seconds) as service:
        try:
            transaction = service.client.post(request)
        except RefusedError as error:
            if as_json:
                print_json(error.details)
            raise CommandError(f"{error} The uuid is {request.uuid}.") from None
    if as_json:
        print_json(transaction)
        return
    replay_note = (
        " (already posted before; this is the original result)" if transaction.replayed else ""
    )
    verb = "deposited" if transaction.type == "DEPOSIT" else "withdrew"
    print_line(
        f"{verb} {format_amount(transaction.amount)}, balance {format_amount(transaction.balance)}, "
        f"uuid {transaction.uuid}{replay_note}"
    )


def _parse_uuid(text: str) -> UUID:
    try:
        return UUID(text)
    except ValueError:
        example = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
        raise CommandError(
            f"--uuid {text!r}: expected a UUID such as {example}", ExitCode.USAGE
        ) from None
