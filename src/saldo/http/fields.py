"""Reading the fields of a JSON object, all faults at once. For objects that are read seldom; numbers come as digits
(`saldo.http.wire`)."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from saldo.http.wire import Fault
from saldo.ledger.model import USER_ID_MAX

T = TypeVar("T")

UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\ud800-\udfff]")
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


class FieldError(ValueError):
    """What is wrong with one field: what is expected of it."""


def collect(faults: list[Fault], field: str, read: Callable[..., T], *arguments: Any) -> T | None:
    """What is read; None where a fault was added."""
    try:
        return read(*arguments)
    except FieldError as error:
        faults.append(Fault(field, str(error)))
        return None


def unknown(fields: Mapping[str, Any], known: tuple[str, ...]) -> list[Fault]:
    """A misspelt limit must not be skipped in silence: more would be given than was meant."""
    message = f"is not a field of this request; there are {', '.join(known)}"
    return [Fault(name[:100], message) for name in fields if name not in known]


def read_label(value: object, length_max: int) -> str:
    """A name that people give to something."""
    if type(value) is not str or not value.strip() or len(value) > length_max:
        raise FieldError(f"must have 1 to {length_max} characters")
    if _CONTROL.search(value):
        raise FieldError("must not contain control characters")
    return value.strip()


def read_user_ids(value: object, users_max: int) -> list[int] | None:
    """The only users that something is about; None: all."""
    if value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= users_max:
        raise FieldError(f"must be a list of 1 to {users_max} user ids; or null: all users")
    ids = {int(each) if isinstance(each, str) and _DIGITS.fullmatch(each) else 0 for each in value}
    if min(ids) < 1 or max(ids) > USER_ID_MAX:
        raise FieldError(
            f"must be whole numbers from 1 to {USER_ID_MAX}, or strings of their digits"
        )
    return sorted(ids)
