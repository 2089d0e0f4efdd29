"""The patterns of texts in the OpenAPI document: what the readers take, no more and no less.

tests/fuzz holds the document to the readers in both directions. What no pattern can say (that a month has no 31st day,
that a cursor is of this list) is in tests/fuzz/hooks.py.
"""

from __future__ import annotations

from typing import Final

DIGITS: Final = "^[0-9]{1,30}$"

POSITIVE: Final = "^0*[1-9][0-9]{0,18}$"
"""The digits of an id, 30 at most."""

UUID: Final = (
    "^(?!0{8}(-0{4}){3}-0{12}$|0{32}$)"  # the nil uuid is nobody's
    "([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})$"
)

NAME: Final = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"

AMOUNT: Final = r"^(?=.*[1-9])[0-9]+(\.[0-9]{1,8})?$"
"""Eight decimals are the most a currency may have."""

KEY: Final = (
    "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    "|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/]{2}==)?)$"
)
"""The secret of a webhook: 24 to 64 bytes in base64."""

PLAIN_URL: Final = (
    r"^https?://([A-Za-z0-9]([A-Za-z0-9-]{0,20}[A-Za-z0-9])?\.){1,3}[A-Za-z]{2,10}"
    r"(:[1-9][0-9]{0,3})?(/[!\"$-~]*)?$"
)
URL: Final = r"^[Hh][Tt][Tt][Pp][Ss]?:[^\x00-\x20\x7f-\x9f]+$"
"""What else a URL may be: names in other scripts, public addresses."""

_DATE: Final = (
    "(19[0-9]{2}|2[01][0-9]{2}|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"  # years of a ledger
)
_FRACTION: Final = "([.,][0-9]+)?"
_TIME: Final = (
    f"([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9]{_FRACTION})?|-[0-5][0-9]-[0-5][0-9]{_FRACTION})"
)
_HOUR: Final = "([01][0-9]|2[0-3])"
_ZONE: Final = rf"[ \t\n\r\f\v]?([Zz]|[+-]{_HOUR}(:?[0-5][0-9])?)?"

INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}{_ZONE})?$"

QUERY_INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}({_ZONE}| {_HOUR}:?[0-5][0-9]))?$"
"""In a query a plus sign may arrive as a space."""
