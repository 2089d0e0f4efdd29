"""Content negotiation: the header `Accept` chooses between JSON and NDJSON."""

from __future__ import annotations

import re
from typing import Final

LINES: Final = "application/x-ndjson"

_JSON_RANGES: Final = ("application/json", "application/*", "*/*")
"""Media ranges that include JSON, the most specific first."""

_QUALITY: Final = re.compile(r"q=(0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?)", re.ASCII)


def prefers_lines(accept: bytes) -> bool:
    """Return whether a client prefers NDJSON to JSON. The header must name NDJSON, with a quality that is not lower
    than the quality of JSON.

    No value of the header is rejected. A quality that can't be parsed counts as 1, as if it were missing.
    """
    ranges: dict[str, tuple[float, int]] = {}
    for index, media_range in enumerate(accept.decode("latin-1").lower().split(",")):
        name, *parameters = (part.strip() for part in media_range.split(";"))
        qualities = [
            match[1] for parameter in parameters if (match := _QUALITY.fullmatch(parameter))
        ]
        ranges.setdefault(name, (float(qualities[0]) if qualities else 1.0, -index))
    lines = ranges.get(LINES)
    if lines is None or not lines[0]:
        return False
    json = next((ranges[name] for name in _JSON_RANGES if name in ranges), None)
    if json is None:
        return True
    # At equal quality the first type wins. If only a range such as */* includes JSON, NDJSON wins.
    return lines > json if _JSON_RANGES[0] in ranges else lines[0] >= json[0]
