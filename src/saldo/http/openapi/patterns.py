"""The patterns of strings in the OpenAPI document. The parsers accept exactly the values that match.

tests/fuzz checks both directions. A few rules can't be expressed by a pattern, such as the number of days of a month.
They are in tests/fuzz/hooks.py.
"""

from __future__ import annotations

from typing import Final

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
