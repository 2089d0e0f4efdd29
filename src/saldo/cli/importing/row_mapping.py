"""The mapping of rows to transactions: the columns of the fields, the values of the type, and the uuid."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Final
from uuid import UUID, uuid5

from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.importing.row_readers import BINARY_FLOAT, Row
from saldo.cli.times import add_offset
from saldo.client.payloads import Deposit, TransactionRequest, Withdrawal
from saldo.ledger.instants import InstantError

FIELDS: Final = ("uuid", "type", "amount", "user_id", "timestamp", "outcome")
NAMESPACE: Final = UUID("5a1d0000-0000-5000-8000-696d706f7274")
"""Namespace of the uuids that are derived for rows without one. It must never change, because a repeated import would
then post the rows again."""

REASON_COLUMNS: Final = ("line", "reason")
"""First columns of a rejects file."""

COLUMNS_CHARACTERS_MAX: Final = 500
"""Maximum number of characters of a header row that an error message shows, because the first line may be very long."""

_DIGITS: Final = re.compile(r"\d+", re.ASCII)
_NUMBER: Final = re.compile(r"[+-]?\d+(?:\.\d+)?", re.ASCII)


_NO_AMOUNT: Final = re.compile(r"[^\d.](?<!^[+-])", re.ASCII)
_NO_DIGIT: Final = re.compile(r"\D", re.ASCII)
_NOT_ASCII: Final = re.compile(r"[^\x00-\x7f]")
"""Patterns of invalid characters in a value. The sign before an amount is checked elsewhere."""


class InvalidRowError(Exception):
    """A row that is not a valid transaction. The message says why."""


@dataclass(frozen=True, slots=True)
class ColumnMapping:
    """The mapping that the options define.

    Attributes:
        columns: The name of the column by field. Fields without a column are left out.
        signed: Whether the sign of the amount determines the type, so that there is no column for it.
        type_values: The transaction type by the value of the type column. The values are in lower case.
        identity: The permanent name of the file. A row without a uuid gets one that is derived from this name and the
            row's number.
    """

    columns: Mapping[str, str]
    signed: bool
    type_values: Mapping[str, type[TransactionRequest]]
    identity: str | None


def parse_mapping(
    maps: Sequence[str], *, signed: bool, deposit: str, withdraw: str, identity: str | None
) -> ColumnMapping:
    """Return the mapping that the options define.

    Raises:
        CommandError: The options are invalid.
    """
    columns = {name: name for name in FIELDS}
    named = set()
    for each in maps:
        field, equals, column = each.partition("=")
        if field not in FIELDS or not equals:
            raise CommandError(
                f"--map {each!r}: expected FIELD=COLUMN, where FIELD is one of {', '.join(FIELDS)}",
                ExitCode.USAGE,
            )
        if field in named:
            raise CommandError(f"--map {each!r}: {field} already has a column", ExitCode.USAGE)
        named.add(field)
        columns[field] = column
    # An empty column name means that no column has the field.
    columns = {field: column for field, column in columns.items() if column}
    if deposit.casefold() == withdraw.casefold():
        raise CommandError("--deposit and --withdraw must have different values", ExitCode.USAGE)
    type_values: dict[str, type[TransactionRequest]] = {
        deposit.casefold(): Deposit,
        withdraw.casefold(): Withdrawal,
    }
    return ColumnMapping(columns, signed, type_values, identity)


class RowMapper:
    """Converts the rows of one file to transactions."""

    def __init__(
        self, mapping: ColumnMapping, columns: Sequence[str], *, has_header: bool = True
    ) -> None:
        """
        Args:
            has_header: Whether the file itself names its columns. If not, any column may be missing in all rows.

        Raises:
            CommandError: A necessary column is missing, or the columns contradict the options.
        """
        self._mapping = mapping
        self._columns = tuple(columns)
        twice = [each for each in mapping.columns.values() if columns.count(each) > 1]
        if twice:
            raise CommandError(
                f"two columns have the name {twice[0]}: rename one of them", ExitCode.USAGE
            )
        self._indexes = {
            field: columns.index(column)
            for field, column in mapping.columns.items()
            if column in columns
        }
        needed = ["amount", "user_id"] + ([] if mapping.signed else ["type"])
        missing = [
            mapping.columns.get(field, field) for field in needed if field not in self._indexes
        ]
        if missing:
            raise CommandError(
                f"there is no column {', '.join(missing)}; the columns in the first line are "
                f"{', '.join(columns)[:COLUMNS_CHARACTERS_MAX]}: {_build_header_hint(columns)}",
                ExitCode.USAGE,
            )
        if mapping.signed and has_header and "type" in self._indexes:
            raise CommandError(
                "--signed derives the type from the amount's sign, but the file has a column "
                f"{mapping.columns['type']}: omit --signed, or ignore the column with --map type=",
                ExitCode.USAGE,
            )
        if "uuid" not in self._indexes and mapping.identity is None:
            raise CommandError(
                f"there is no column {mapping.columns.get('uuid', 'uuid')}: give the file a permanent name with --id, "
                "and each row gets a uuid that is derived from this name and the row's number",
                ExitCode.USAGE,
            )
        has_reason_columns = self._columns[:2] == REASON_COLUMNS and not {0, 1} & set(
            self._indexes.values()
        )
        self._reason_columns_count = len(REASON_COLUMNS) if has_reason_columns else 0
        self._uuid_namespace = (
            None if mapping.identity is None else uuid5(NAMESPACE, mapping.identity)
        )

    @property
    def rejected_columns(self) -> tuple[str, ...]:
        """The columns of the values that `build_rejected_values` returns.

        They are the columns of the file. If the file has no uuid column, one is inserted before them. If the file is
        itself a rejects file, its columns `line` and `reason` are left out, because they would occur twice.
        """
        columns = self._columns[self._reason_columns_count :]
        if "uuid" in self._indexes:
            return columns
        return (self._mapping.columns.get("uuid", "uuid"), *columns)

    def build_rejected_values(self, row: Row) -> list[str | None]:
        """Return a row's values with its derived uuid, so that the row keeps this uuid in another file."""
        values = self._list_values_with_uuid(row)
        if (
            len(row.values) <= self._reason_columns_count
        ):  # an unreadable line, which is stored as one value
            return values
        begin = 0 if "uuid" in self._indexes else 1
        return values[:begin] + values[begin + self._reason_columns_count :]

    def _list_values_with_uuid(self, row: Row) -> list[str | None]:
        derived_uuid = None
        if self._uuid_namespace is not None:
            with suppress(InvalidRowError):
                derived_uuid = str(self.get_or_derive_uuid(row))
        values = list(row.values)
        index = self._indexes.get("uuid")
        if index is None:
            return [derived_uuid, *values]
        if derived_uuid is not None:
            values += [""] * (index + 1 - len(values))  # pads a short row
            values[index] = derived_uuid
        return values

    def spans_several_rows(self, row: Row) -> bool:
        """Return whether a continuation line of the row looks like a complete row.

        Such a line is the sign of a missing closing quotation mark, because quoted text hardly ever looks like a row.
        """
        return any(
            len(each) == len(self._columns)
            and _DIGITS.fullmatch(each[self._indexes["user_id"]].strip(' "'))
            and _NUMBER.fullmatch(each[self._indexes["amount"]].strip(' "'))
            for each in row.following
        )

    def build_request(self, row: Row) -> TransactionRequest:
        """Return the transaction of a row.

        Raises:
            InvalidRowError: The row is not a valid transaction.
        """
        if row.fault is not None:
            raise InvalidRowError(row.fault)
        outcome = self._find_value(row, "outcome")
        if outcome and outcome != "posted":
            raise InvalidRowError(f"was refused by the ledger that exported it: {outcome}")
        amount, user_id = (
            self._get_required_value(row, "amount"),
            self._get_required_value(row, "user_id"),
        )
        timestamp = self._find_value(row, "timestamp")
        self._check_amount(amount)
        self._check_characters("user_id", user_id, "digits", _NO_DIGIT)
        self._check_characters(
            "timestamp", timestamp, "a date and time such as 2026-01-31T12:30:00Z", _NOT_ASCII
        )
        kind, amount = self._read_type_and_amount(row, amount)
        # The user id remains a text of digits. The service parses it and reports what is wrong with it.
        return kind(
            user_id,  # type: ignore[arg-type]
            amount,
            timestamp=_normalize_time(timestamp) if timestamp else None,
            uuid=self.get_or_derive_uuid(row),
        )

    def get_or_derive_uuid(self, row: Row) -> UUID:
        """Return the row's own uuid, or one that is derived from the file's permanent name and the row's number.

        Raises:
            InvalidRowError: The uuid is invalid, or it is missing and the file has no name to derive one from.
        """
        text = self._find_value(row, "uuid")
        if text:
            self._check_characters("uuid", text, "a uuid", _NOT_ASCII)
            try:
                return UUID(text)
            except ValueError:
                raise InvalidRowError(
                    "uuid must be a uuid such as ea3015b1-c25c-47e5-beb7-2679ac7c89a7"
                ) from None
        if self._uuid_namespace is None:
            raise InvalidRowError("uuid is missing; --id derives one for such rows")
        return uuid5(self._uuid_namespace, str(row.number))

    def _check_amount(self, text: str) -> None:
        """Check the characters and the sign of an amount.

        Raises:
            InvalidRowError: The amount contains an invalid character, which the message names. Or the amount is
                negative although the row has a type.
        """
        label = self._format_field_label("amount")
        if "," in text:
            raise InvalidRowError(
                f"{label} {text[:50]} contains a comma: write it as 25000.50, without thousands separators and with a "
                "decimal point"
            )
        if text.endswith(BINARY_FLOAT):
            raise InvalidRowError(f"{label} is {text}: store the column as decimals or as text")
        if not self._mapping.signed and _NUMBER.fullmatch(text) and text[0] == "-":
            raise InvalidRowError(
                f"{label} {text[:50]} is negative: the type says whether it is a withdrawal; --signed "
                "derives the type from "
                "the sign"
            )
        expected = "digits and at most one decimal point, such as 1234.50"
        if self._mapping.signed:
            expected += ", with a minus sign for a withdrawal"
        self._check_characters("amount", text, expected, _NO_AMOUNT)

    def _check_characters(
        self, field: str, text: str, expected: str, forbidden: re.Pattern[str]
    ) -> None:
        match = forbidden.search(text)
        if match is None:
            return
        code = f"U+{ord(match[0]):04X} ({unicodedata.name(match[0], 'no name')})"
        shown = f'"{match[0]}", {code}' if match[0].isprintable() else code
        raise InvalidRowError(
            f"{self._format_field_label(field)} {text[:50]!r} contains {shown}: expected {expected}"
        )

    def _format_field_label(self, field: str) -> str:
        """Return the field's name, with the column's name if it is different."""
        column = self._mapping.columns.get(field, field)
        return field if column == field else f"{field} (column {column})"

    def _read_type_and_amount(self, row: Row, amount: str) -> tuple[type[TransactionRequest], str]:
        if self._mapping.signed:
            if self._find_value(row, "type"):
                raise InvalidRowError(
                    "has a type, but --signed derives it from the amount's sign; --map type= ignores the field"
                )
            return (
                (Withdrawal, amount[1:])
                if amount[0] == "-"
                else (Deposit, amount.removeprefix("+"))
            )
        text = self._get_required_value(row, "type")
        kind = self._mapping.type_values.get(text.casefold())
        if kind is None:
            raise InvalidRowError(
                f"type is {text[:50]}: expected {' or '.join(self._mapping.type_values)}"
            )
        return kind, amount

    def _get_required_value(self, row: Row, field: str) -> str:
        value = self._find_value(row, field)
        if not value:
            raise InvalidRowError(f"{field} is missing")
        return value

    def _find_value(self, row: Row, field: str) -> str:
        index = self._indexes.get(field)
        # An unreadable row may have fewer values.
        value = None if index is None or index >= len(row.values) else row.values[index]
        return "" if value is None else value.strip()


def _normalize_time(text: str) -> str:
    try:
        return add_offset(text)
    except InstantError as error:
        raise InvalidRowError(f"timestamp {error}") from None


def _build_header_hint(columns: Sequence[str]) -> str:
    """Return a hint about a header row that lacks necessary columns."""
    if columns[0].lower().startswith("sep="):
        return (
            "this line is for Excel: delete it, and use --delimiter with the character after sep="
        )
    # A single column whose name contains a separator is most likely a wrong delimiter.
    if len(columns) == 1 and any(each in columns[0] for each in ",;\t|"):
        return "use --delimiter if another character separates the columns"
    return (
        "if this is not the header row, delete the lines above the header row; if the columns have other names, "
        "use --map"
    )
