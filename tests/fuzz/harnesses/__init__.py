"""Harnesses: properties that must hold for each parser, whatever its input is.

A harness is a module with `check(data)`. It raises AssertionError when a property doesn't hold, and anything else when
a parser raises an undocumented exception. The callers are Hypothesis (tests/fuzz/test_harnesses.py) and atheris, which
is guided by code coverage (`python -m tests.fuzz.harnesses NAME`).
"""

from __future__ import annotations

import re
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Final

Check = Callable[[bytes], None]

NAMES: Final = (
    "addresses",
    "amounts",
    "connection_strings",
    "cursors",
    "following",
    "instants",
    "lines",
    "positions",
    "transactions",
    "webhook_urls",
)

CORPUS: Final = Path(__file__).parent.parent / "corpus"


def check_of(name: str) -> Check:
    """Return the check of a harness, or of a module elsewhere, by its full name."""
    module = import_module(name if "." in name else f"{__name__}.{name}")
    check: Check = module.check
    return check


def seeds_of(name: str) -> list[bytes]:
    """Return the initial inputs: one for each line of corpus/NAME.txt, with Python's escapes."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines if line]


def text_of(data: bytes) -> str:
    """Decode bytes of any kind as text."""
    return data.decode("utf-8", "surrogateescape")


def count_executed(output: str) -> int:
    """Return the number of inputs that a run has tried, from the final output of libFuzzer."""
    found = re.search(r"number_of_executed_units: (\d+)", output)
    return int(found[1]) if found else 0
