"""`saldo transactions` lists a user's transactions, refused ones included."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from saldo.cli.connection.service import Key, KeyFile, Local, ServiceOptions, Url, connect
from saldo.cli.options import Json, Since, Until, UserId
from saldo.cli.output import detect_output_width, print_json, print_note, print_table
from saldo.cli.times import parse_optional_time, parse_time_range
from saldo.client.models import Transaction, TransactionType

LIMIT_DEFAULT = 50
PAGE_ITEMS = 1000

WIDE_CHARACTERS_MIN = 120
"""Width of a line with all columns, in characters."""

COLUMNS = ("number", "timestamp", "type", "amount", "balance", "outcome", "uuid")


class TransactionTypeOption(StrEnum):
    """The types of transactions, with their names in the API."""

    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"


def transactions(
    user_id: UserId,
    since: Since = None,
    until: Until = None,
    type_: Annotated[
        TransactionTypeOption | None,
        typer.Option("--type", help="Show transactions of this type only.", case_sensitive=False),
    ] = None,
    known_at: Annotated[
        str | None,
        typer.Option(
            help="List as it was known at this time, without transactions that were recorded later."
        ),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(
            help=f"Maximum number of transactions. The default is {LIMIT_DEFAULT}, and no limit with --json.",
            min=1,
        ),
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    local: Local = False,
    json_: Json = False,
) -> None:
    """List a user's transactions, newest first.

    Refused transactions are included. Each balance is the one immediately after the transaction was recorded.
    """
    shown_max = limit if limit is not None or json_ else LIMIT_DEFAULT
    transaction_type: TransactionType | None = None if type_ is None else type_.value
    begin, end = parse_time_range("--from", since, "--to", until)
    known_time = parse_optional_time("--known-at", known_at)
    with connect(ServiceOptions(url, key, key_file, local)) as service:
        every = iter(
            service.client.transactions(
                user_id,
                since=begin,
                until=end,
                type=transaction_type,
                known_at=known_time,
                limit=PAGE_ITEMS if shown_max is None else min(shown_max + 1, PAGE_ITEMS),
            )
        )
        found = islice(every, shown_max)
        if json_:
            for each in found:
                print_json(_to_json_object(each))
            return
        rows = [format_table_row(each) for each in found]
        more = limit is None and next(every, None) is not None
    # A narrow terminal has no space for uuids, and would wrap all other columns because of them.
    wide = detect_output_width() >= WIDE_CHARACTERS_MIN
    print_table(COLUMNS if wide else COLUMNS[:-1], rows if wide else [row[:-1] for row in rows])
    if more:
        print_note(f"only the newest {shown_max} transactions are shown; use --limit to show more")


def format_table_row(transaction: Transaction) -> tuple[object, ...]:
    """Return the `COLUMNS` of a transaction. The amount has no sign, because the type shows the direction."""
    return (
        transaction.number,
        transaction.timestamp,
        transaction.type,
        transaction.amount,
        transaction.balance,
        transaction.outcome,
        transaction.uuid,
    )


def _to_json_object(transaction: Transaction) -> dict[str, object]:
    # `replayed` is set only in results of posting.
    return {
        name: getattr(transaction, name)
        for name in transaction.__struct_fields__
        if name != "replayed"
    }
