"""Parsers of fields that several requests have.

These parsers are used for requests that clients send rarely. JSON numbers arrive as strings of digits
(`saldo.parsing.json_body`).
"""

from __future__ import annotations

import re
from typing import Final

from saldo.ledger.model import USER_ID_MAX
from saldo.ledger.names import COMPOSITION_FACTOR_MAX, InvalidNameError, normalize_name
from saldo.parsing.faults import FieldError
from saldo.parsing.json_body import ABSENT, describe_type_fault

UNPRINTABLE: Final = re.compile(r"[\x00-\x20\x7f-\x9f\ud800-\udfff]")
_DIGITS: Final = re.compile(r"[0-9]{1,30}", re.ASCII)


def parse_label(value: object, length_max: int) -> str:
    """Return the name of a user or of a key, normalized by `saldo.ledger.names`.

    Raises:
        FieldError: The value is not a valid name.
    """
    if type(value) is not str:
        raise FieldError(describe_type_fault(value, "must be a string"))
    length = f"must have 1 to {length_max} characters"
    # The length is checked first, because the time for normalizing a name grows with the square of its length.
    if not 1 <= len(value.strip()) <= length_max * COMPOSITION_FACTOR_MAX:
        raise FieldError(length)
    try:
        label = normalize_name(value)
    except InvalidNameError as error:
        raise FieldError(str(error)) from None
    if len(label) > length_max:
        raise FieldError(length)
    return label


def parse_user_ids(value: object, users_max: int) -> list[int] | None:
    """Return the ids of the users that a key or webhook is limited to, sorted; None means all users.

    Raises:
        FieldError: The value is not a list of valid ids, or has more than `users_max` items.
    """
    if value is ABSENT or value is None:
        return None
    if not isinstance(value, list) or not 1 <= len(value) <= users_max:
        raise FieldError(f"must be a list of 1 to {users_max} user ids, or null for all users")
    ids = {int(item) if isinstance(item, str) and _DIGITS.fullmatch(item) else 0 for item in value}
    if min(ids) < 1 or max(ids) > USER_ID_MAX:
        raise FieldError(
            f"must contain only whole numbers from 1 to {USER_ID_MAX}, as numbers or as strings of digits"
        )
    return sorted(ids)
