"""`saldo transactions`: what a user has done, and what was refused."""

from __future__ import annotations

from enum import StrEnum
from itertools import islice
from typing import Annotated

import typer

from saldo.cli.clock import bounds, optional_instant
from saldo.cli.connecting import Key, KeyFile, Target, Url, connected
from saldo.cli.options import Json, Since, Until, UserId
from saldo.cli.output import note, print_json, print_table, width
from saldo.client.models import Transaction, TransactionType

SHOWN = 50
PAGE_ITEMS = 1000

WIDE = 120
"""Characters, that a line with everything takes."""

COLUMNS = ("number", "timestamp", "type", "amount", "balance", "outcome", "uuid")


class Type(StrEnum):
    """As the API names them."""

    DEPOSIT = "DEPOSIT"
    WITHDRAW = "WITHDRAW"


def transactions(
    user_id: UserId,
    since: Since = None,
    until: Until = None,
    type_: Annotated[
        Type | None, typer.Option("--type", help="Only these.", case_sensitive=False)
    ] = None,
    known_at: Annotated[
        str | None, typer.Option(help="As it was known then: without what was recorded later.")
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option(help=f"How many at most. Not given: {SHOWN}, with --json all.", min=1),
    ] = None,
    url: Url = None,
    key: Key = None,
    key_file: KeyFile = None,
    json_: Json = False,
) -> None:
    """List a user's transactions, the newest first, refused ones too.

    The balance is the one right after the transaction was recorded.
    """
    shown_max = limit if limit is not None or json_ else SHOWN
    wanted: TransactionType | None = None if type_ is None else type_.value
    begin, end = bounds("--from", since, "--to", until)
    known = optional_instant("--known-at", known_at)
    with connected(Target(url, key, key_file)) as service:
        every = iter(
            service.client.transactions(
                user_id,
                since=begin,
                until=end,
                type=wanted,
                known_at=known,
                limit=PAGE_ITEMS if shown_max is None else min(shown_max + 1, PAGE_ITEMS),
            )
        )
        found = islice(every, shown_max)
        if json_:
            for each in found:
                print_json(_object(each))
            return
        rows = [row_of(each) for each in found]
        more = limit is None and next(every, None) is not None
    # A narrow terminal has no room for uuids, and would fold all the rest for them.
    wide = width() >= WIDE
    print_table(COLUMNS if wide else COLUMNS[:-1], rows if wide else [row[:-1] for row in rows])
    if more:
        note(f"only the newest {shown_max}: see --limit")


def row_of(each: Transaction) -> tuple[object, ...]:
    """A transaction's `COLUMNS`."""
    amount = each.amount if each.type == "DEPOSIT" else -each.amount
    return each.number, each.timestamp, each.type, amount, each.balance, each.outcome, each.uuid


def _object(each: Transaction) -> dict[str, object]:
    # `replayed` is of posting only.
    return {name: getattr(each, name) for name in each.__struct_fields__ if name != "replayed"}
