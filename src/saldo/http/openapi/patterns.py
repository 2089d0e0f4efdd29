"""The patterns of strings in the OpenAPI document. The parsers accept exactly the values that match.

tests/fuzz checks both directions. A few rules can't be expressed by a pattern, such as the number of days of a month.
They are in tests/fuzz/hooks.py.
"""

from __future__ import annotations

from typing import Final

DIGITS: Final = "^[0-9]{1,30}$"

POSITIVE: Final = "^0*[1-9][0-9]{0,18}$"
"""Pattern of an id greater than zero. The schema limits it to 30 digits."""

UUID: Final = (
    "^(?!0{8}(-0{4}){3}-0{12}$|0{32}$)"  # not the nil uuid
    "([0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}|[0-9a-fA-F]{32})$"
)

NAME: Final = r"^[^\x00-\x1f\x7f-\x9f]*[^\s\x00-\x1f\x7f-\x9f][^\x00-\x1f\x7f-\x9f]*$"

AMOUNT: Final = r"^(?=.*[1-9])[0-9]+(\.[0-9]{1,8})?$"
"""Pattern of an amount. A currency has at most eight decimals."""

KEY: Final = (
    "^whsec_(([A-Za-z0-9+/]{4}){8,20}([A-Za-z0-9+/]{2}==|[A-Za-z0-9+/]{3}=)?"
    "|([A-Za-z0-9+/]{4}){21}([A-Za-z0-9+/]{2}==)?)$"
)
"""The secret of a webhook: 24 to 64 bytes in base64."""

URL: Final = r"^[Hh][Tt][Tt][Pp][Ss]?:[^\x00-\x20\x7f-\x9f]+$"
"""The URL of a webhook, without the conditions that no pattern can express."""

_DATE: Final = (
    "(19[0-9]{2}|2[01][0-9]{2}|2200)-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"  # 1900 to 2200
)
_FRACTION: Final = "([.,][0-9]+)?"
_TIME: Final = (
    f"([01][0-9]|2[0-3])(:[0-5][0-9](:[0-5][0-9]{_FRACTION})?|-[0-5][0-9]-[0-5][0-9]{_FRACTION})"
)
_HOUR: Final = "([01][0-9]|2[0-3])"
_ZONE: Final = rf"[ \t\n\r\f\v]?([Zz]|[+-]{_HOUR}(:?[0-5][0-9])?)?"

INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}{_ZONE})?$"

QUERY_INSTANT: Final = f"^{_DATE}([Tt ]{_TIME}({_ZONE}| {_HOUR}:?[0-5][0-9]))?$"
"""Pattern of an instant in a query, where a plus sign may arrive as a space."""
