"""The JSON encoder for responses, events and webhooks. It escapes characters that some clients take for line breaks.

JSON allows U+2028, U+2029 and U+0085 unescaped in strings. But Python's `splitlines`, JavaScript before 2019 and other
readers of lines break there, and so split a line of NDJSON or a server-sent event. All other line breaks are control
characters, which JSON escapes anyway. The service has no other JSON encoder (tests/unit/http/test_json_encoding.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import msgspec

_encoder: Final = msgspec.json.Encoder()

_LINE_ENDS: Final = (
    ("\u2028".encode(), b"\\u2028"),
    ("\u2029".encode(), b"\\u2029"),
    ("\u0085".encode(), b"\\u0085"),
)


def encode_json(value: Any) -> bytes:
    """Return the value as JSON in UTF-8, in one line."""
    return escape_line_ends(_encoder.encode(value))


def encode_json_lines(values: Iterable[Any]) -> bytes:
    """Return newline-delimited JSON, with one line per value."""
    return escape_line_ends(_encoder.encode_lines(values))


def escape_line_ends(encoded: bytes) -> bytes:
    """Return JSON with escapes in place of the characters that some clients take for line breaks.

    These characters occur only within strings, and their bytes never occur within other characters. Nearly all
    responses need only the first check, which takes some 50 ns.
    """
    if encoded.isascii():
        return encoded
    for raw, escaped in _LINE_ENDS:
        encoded = encoded.replace(raw, escaped)
    return encoded
