"""Parser of JSON that clients send, with a limit on everything that can grow.

Numbers are kept as the digits that the client wrote, so that no amount passes through a binary float. A key that is
given twice in an object is an error, because JSON parsers disagree on which of the two values counts.
"""

from __future__ import annotations

import json
from typing import Any, Final, NoReturn

FIELDS_MAX: Final = 32
"""Maximum number of fields of one object. No request has more than six fields. Objects with more fields would cost
memory and make error responses longer."""

FIELD_LENGTH_MAX: Final = 100
"""Maximum number of characters of a field's name that a response repeats."""

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_BYTE_ORDER_MARKS_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


ABSENT: Final = object()
"""Value that stands for a field that is missing in an object. A field that is null has the value None."""


def describe_type_fault(value: object, expectation: str) -> str:
    """Return the message for a value of the wrong type, which distinguishes a missing field from null."""
    if value is ABSENT:
        return f"is missing: it {expectation}"
    return f"is null: it {expectation}" if value is None else expectation


class JsonError(ValueError):
    """Raised when the body can't be parsed.

    Attributes:
        field: The name of the field at fault, or `body`.
    """

    def __init__(self, message: str, field: str = "body") -> None:
        super().__init__(message)
        self.field = field[:FIELD_LENGTH_MAX]


class JsonNumber(str):
    """The digits of a JSON number, as written."""

    __slots__ = ()


def parse_json(body: bytes, separators_max: int | None = None) -> Any:
    """Parse a JSON body. Numbers are `JsonNumber`.

    Args:
        separators_max: Maximum number of commas in the body. The check precedes the parsing, and limits the number of
            values and thus the memory that they need.

    Raises:
        JsonError: The body is not JSON, has too many values or fields, is nested too deeply, or has a key twice.
    """
    if body.startswith(_BYTE_ORDER_MARK):
        raise JsonError(
            "begins with a byte order mark (BOM, EF BB BF): save it as UTF-8 without BOM"
        )
    if separators_max is not None and body.count(b",") > separators_max:
        raise JsonError(f"must have at most {separators_max} values")
    try:
        return _decoder.decode(body.decode("utf-8"))
    except UnicodeDecodeError:
        if body.startswith(_BYTE_ORDER_MARKS_UTF16):
            raise JsonError("must be UTF-8: its byte order mark is that of UTF-16") from None
        raise JsonError("must be UTF-8") from None
    except RecursionError:
        raise JsonError("is nested too deeply") from None
    except JsonError:
        raise
    except ValueError as error:
        raise JsonError(f"must be JSON: {error}"[:300]) from None


def _build_object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > FIELDS_MAX:
        raise JsonError(f"has an object with {len(pairs)} fields; the maximum is {FIELDS_MAX}")
    fields: dict[str, Any] = {}
    for name, value in pairs:
        if name in fields:
            raise JsonError("is given twice", field=name)
        fields[name] = value
    return fields


def _reject_constant(name: str) -> NoReturn:
    raise JsonError(f"must be JSON: {name} is not a JSON number")


_decoder: Final = json.JSONDecoder(
    object_pairs_hook=_build_object,
    parse_float=JsonNumber,
    parse_int=JsonNumber,
    parse_constant=_reject_constant,
)
