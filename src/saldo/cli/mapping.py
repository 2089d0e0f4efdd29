"""From a row to the transaction that it means: which column is which, what the words mean, which uuid it has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from saldo.cli.clock import zoned
from saldo.cli.exits import CommandError, Exit
from saldo.cli.tables import Row
from saldo.client.requests import Deposit, Request, Withdrawal

FIELDS: Final = ("uuid", "type", "amount", "user_id", "timestamp", "outcome")
NAMESPACE: Final = UUID("5a1d0000-0000-5000-8000-696d706f7274")
"""Of the uuids that are made for rows without one: never changes, or a repeated import would post again."""

REASONED: Final = ("line", "reason")
"""What a file of rows that were put aside begins with."""

_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)


class BadRowError(Exception):
    """The row is no transaction; the message says why."""


@dataclass(frozen=True, slots=True)
class Meaning:
    """What the options say of the columns.

    Attributes:
        columns: of each field, the column's name; a field that is not there stands nowhere.
        signed: the amount's sign says the type; there is no column for it.
        words: what stands in the column of the type, and which type it is.
        identity: stands for the file: a row without a uuid gets one made of it and of the row's number.
    """

    columns: Mapping[str, str]
    signed: bool
    words: Mapping[str, type[Request]]
    identity: str | None


def meaning_of(
    maps: Sequence[str], *, signed: bool, deposit: str, withdraw: str, identity: str | None
) -> Meaning:
    """The meaning that options give.

    Raises:
        CommandError: they make no sense.
    """
    columns = {name: name for name in FIELDS}
    named = set()
    for each in maps:
        field, equals, column = each.partition("=")
        if field not in FIELDS or not equals:
            raise CommandError(
                f"--map {each!r}: expected FIELD=COLUMN, with one of {', '.join(FIELDS)}",
                Exit.USAGE,
            )
        if field in named:
            raise CommandError(f"--map {each!r}: {field} has a column already", Exit.USAGE)
        named.add(field)
        columns[field] = column
    # What stands nowhere.
    columns = {field: column for field, column in columns.items() if column}
    if deposit.casefold() == withdraw.casefold():
        raise CommandError("--deposit and --withdraw must differ", Exit.USAGE)
    words: dict[str, type[Request]] = {
        deposit.casefold(): Deposit,
        withdraw.casefold(): Withdrawal,
    }
    return Meaning(columns, signed, words, identity)


class Reader:
    """Makes transactions of the rows of one file."""

    def __init__(self, meaning: Meaning, columns: Sequence[str], *, headed: bool = True) -> None:
        """
        Args:
            headed: the file itself names its columns; else any of them may be missing in all rows.

        Raises:
            CommandError: a column that is needed is not there.
        """
        self._meaning = meaning
        self._columns = tuple(columns)
        twice = [each for each in meaning.columns.values() if columns.count(each) > 1]
        if twice:
            raise CommandError(f"there are two columns {twice[0]}", Exit.USAGE)
        self._places = {
            field: columns.index(column)
            for field, column in meaning.columns.items()
            if column in columns
        }
        needed = ["amount", "user_id"] + ([] if meaning.signed else ["type"])
        missing = [
            meaning.columns.get(field, field) for field in needed if field not in self._places
        ]
        if missing:
            # One column, and a word of it has a separator: it is more likely that.
            parted = len(columns) == 1 and any(each in columns[0] for each in ",;\t|")
            raise CommandError(
                f"there is no column {', '.join(missing)}; there are {', '.join(columns)} "
                f"(see {'--delimiter' if parted else '--map'})",
                Exit.USAGE,
            )
        if meaning.signed and headed and "type" in self._places:
            raise CommandError(
                f"--signed takes the type from the amount's sign, and there is a column {meaning.columns['type']}: "
                "leave out --signed, or pass the column over with --map type=",
                Exit.USAGE,
            )
        if "uuid" not in self._places and meaning.identity is None:
            raise CommandError(
                f"there is no column {meaning.columns.get('uuid', 'uuid')}: give --id and a name that stands for this "
                "file for ever, and each row gets a uuid of it and of its number",
                Exit.USAGE,
            )
        again = self._columns[:2] == REASONED and not {0, 1} & set(self._places.values())
        self._earlier = len(REASONED) if again else 0
        self._space = None if meaning.identity is None else uuid5(NAMESPACE, meaning.identity)

    @property
    def told_columns(self) -> tuple[str, ...]:
        """Of rows as `told` gives them: those of the file, after one for the uuid if it has none.

        Without the line and the reason of an earlier time, which would stand there twice.
        """
        columns = self._columns[self._earlier :]
        if "uuid" in self._places:
            return columns
        return (self._meaning.columns.get("uuid", "uuid"), *columns)

    def told(self, row: Row) -> list[str | None]:
        """A row's values with the uuid that was made for it: it stays the row's own in another file."""
        values = self._with_uuid(row)
        if len(row.values) <= self._earlier:  # a line that can't be read, as it stands
            return values
        begin = 0 if "uuid" in self._places else 1
        return values[:begin] + values[begin + self._earlier :]

    def _with_uuid(self, row: Row) -> list[str | None]:
        made = None
        if self._space is not None:
            with suppress(BadRowError):
                made = str(self.uuid(row))
        values = list(row.values)
        place = self._places.get("uuid")
        if place is None:
            return [made, *values]
        if made is not None:
            values += [""] * (place + 1 - len(values))  # a short row keeps its uuid, too
            values[place] = made
        return values

    def swallows(self, row: Row) -> bool:
        """Whether one of the lines within the row is a row itself: a text that was quoted would hardly have it."""
        return any(
            len(each) == len(self._columns)
            and _DIGITS.fullmatch(each[self._places["user_id"]].strip(' "'))
            and _NUMBER.fullmatch(each[self._places["amount"]].strip(' "'))
            for each in row.following
        )

    def request(self, row: Row) -> Request:
        """The transaction.

        Raises:
            BadRowError: it is none.
        """
        if row.fault is not None:
            raise BadRowError(row.fault)
        outcome = self._value(row, "outcome")
        if outcome and outcome != "posted":
            raise BadRowError(f"was refused in the ledger that it comes from: {outcome}")
        amount, user_id = self._needed(row, "amount"), self._needed(row, "user_id")
        kind, amount = self._kind(row, amount)
        timestamp = self._value(row, "timestamp")
        if not (amount + user_id + timestamp).isascii():
            raise BadRowError("amount, user_id or timestamp has characters that none has")
        # A text of digits: the service reads it, and says what is wrong with it.
        return kind(
            user_id,  # type: ignore[arg-type]
            amount,
            timestamp=zoned(timestamp) if timestamp else None,
            uuid=self.uuid(row),
        )

    def uuid(self, row: Row) -> UUID:
        """The row's own, or one made of the file's name and the row's number, the same each time.

        Raises:
            BadRowError: it has none that is one.
        """
        text = self._value(row, "uuid")
        if text:
            try:
                return UUID(text)
            except ValueError:
                raise BadRowError(
                    "uuid must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
                ) from None
        if self._space is None:
            raise BadRowError("uuid is missing (--id makes one for such rows)")
        return uuid5(self._space, str(row.number))

    def _kind(self, row: Row, amount: str) -> tuple[type[Request], str]:
        if self._meaning.signed:
            if self._value(row, "type"):
                raise BadRowError(
                    "has a type, and --signed takes it from the amount's sign (--map type= passes it over)"
                )
            return (
                (Withdrawal, amount[1:])
                if amount[0] == "-"
                else (Deposit, amount.removeprefix("+"))
            )
        text = self._needed(row, "type")
        kind = self._meaning.words.get(text.casefold())
        if kind is None:
            raise BadRowError(f"type must be {' or '.join(self._meaning.words)}, not {text[:50]}")
        return kind, amount

    def _needed(self, row: Row, field: str) -> str:
        value = self._value(row, field)
        if not value:
            raise BadRowError(f"{field} is missing")
        return value

    def _value(self, row: Row, field: str) -> str:
        place = self._places.get(field)
        # A row that can't be read may end before.
        value = None if place is None or place >= len(row.values) else row.values[place]
        return "" if value is None else value.strip()
