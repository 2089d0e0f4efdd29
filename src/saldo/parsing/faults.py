"""Faults of requests: what is wrong with which field.

A parser collects all faults of a request, so that the client can correct all of them before the next attempt.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar
from uuid import UUID

from saldo.ledger.instants import InstantError
from saldo.ledger.money import MoneyError
from saldo.parsing.json_body import FIELD_LENGTH_MAX

T = TypeVar("T")

FAULTS_MAX: Final = 20
"""Maximum number of faults that a response lists. The response also gives the number of further faults."""

FAULTS_IN_TEXT_MAX: Final = 3
"""Maximum number of faults that the text of an error lists."""


@dataclass(frozen=True, slots=True)
class InvalidField:
    """A fault of a request. `field` is the name of the field, parameter or header in the request."""

    field: str
    message: str


class FieldError(ValueError):
    """Raised when a field is invalid. The message says which value is expected."""


class InvalidRequestError(Exception):
    """Raised when a request is invalid. It contains every fault that was found."""

    def __init__(self, faults: list[InvalidField], uuid: UUID | None = None) -> None:
        super().__init__(summarize_faults(faults))
        self.faults = faults
        self.uuid = uuid
        """The uuid of the transaction, if it could be read."""


def summarize_faults(faults: Sequence[InvalidField]) -> str:
    """Return the first faults in one line, with the number of further ones."""
    sentences = [f"{fault.field} {fault.message}" for fault in faults[:FAULTS_IN_TEXT_MAX]]
    rest_count = len(faults) - len(sentences)
    return "; ".join(sentences) + (f"; and {rest_count} more" if rest_count else "")


class FaultCollector:
    """A collector of the faults of one request, in the order in which they are found.

    All faults are kept, because a response lists only some of them and gives the number of the others. The number of
    faults is limited, because an object has at most `saldo.parsing.json_body.FIELDS_MAX` fields.
    """

    __slots__ = ("faults",)

    def __init__(self) -> None:
        self.faults: list[InvalidField] = []

    def __bool__(self) -> bool:
        """Return whether there are any faults."""
        return bool(self.faults)

    def add(self, field: str, message: str) -> None:
        """Add a fault."""
        self.faults.append(InvalidField(field, message))

    def extend(self, faults: Iterable[InvalidField]) -> None:
        """Add faults that were found elsewhere."""
        self.faults.extend(faults)

    def check_fields(self, fields: Mapping[str, Any], expected: tuple[str, ...]) -> None:
        """Add a fault for each unknown field.

        Ignoring a misspelt field would be dangerous. It may have been meant as a timestamp, or as a restriction of a
        key.
        """
        for name in fields:
            if name not in expected:
                message = f"is not a field of this request; its fields are {', '.join(expected)}"
                self.add(name[:FIELD_LENGTH_MAX], message)

    def parse(self, field: str, parse: Callable[..., T], *arguments: Any) -> T | None:
        """Return the value that `parse` parses. If the value is invalid, add the fault and return None."""
        try:
            return parse(*arguments)
        except (FieldError, MoneyError, InstantError) as error:
            self.add(field, str(error))
            return None

    def raise_error(self, uuid: UUID | None = None) -> NoReturn:
        """Raise the error with all faults.

        Args:
            uuid: The uuid of the transaction, if it could be read.

        Raises:
            InvalidRequestError: The request is invalid.
        """
        raise InvalidRequestError(self.faults, uuid)

    def raise_if_any(self) -> None:
        """Raise the error with all faults, if there are any.

        Raises:
            InvalidRequestError: The request is invalid.
        """
        if self.faults:
            self.raise_error()
