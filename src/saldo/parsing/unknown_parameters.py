"""Check for query parameters that are unknown or given twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from saldo.parsing.faults import InvalidField

NAME_LENGTH_MAX = 100
"""Maximum number of characters of an unknown name that a response repeats."""


def find_unknown_parameters(names: Iterable[str], expected: tuple[str, ...]) -> list[InvalidField]:
    """Return a fault for each given parameter that is not expected or is given more than once."""
    counts = Counter(names)
    faults = [
        InvalidField(
            name[:NAME_LENGTH_MAX], f"is not a parameter of this request; {_list_names(expected)}"
        )
        for name in counts
        if name not in expected
    ]
    return faults + [InvalidField(name, "is given twice") for name in expected if counts[name] > 1]


def _list_names(expected: tuple[str, ...]) -> str:
    if not expected:
        return "it has none"
    *first, last = expected
    names = f"{', '.join(first)} and {last}" if first else last
    return f"its {'parameters are' if first else 'parameter is'} {names}"
