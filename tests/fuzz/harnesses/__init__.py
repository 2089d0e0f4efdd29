"""What must hold of each parser, whatever bytes it is given.

A harness is a module with `check(data)`, which raises AssertionError when a property doesn't hold, and anything else
when a parser raises what it does not document. Hypothesis calls it (tests/fuzz/test_harnesses.py), and so does
atheris, which is led by the coverage of the code (`python -m tests.fuzz.harnesses NAME`).
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
    """The check of a harness; also of a module elsewhere, by its full name."""
    module = import_module(name if "." in name else f"{__name__}.{name}")
    check: Check = module.check
    return check


def seeds_of(name: str) -> list[bytes]:
    """Inputs to begin with: a line each of corpus/NAME.txt, with Python's escapes."""
    path = CORPUS / f"{name}.txt"
    if not path.exists():
        return []
    lines = path.read_text("utf-8").splitlines()
    return [line.encode().decode("unicode_escape").encode("latin-1") for line in lines if line]


def text_of(data: bytes) -> str:
    """Bytes as text, every one of which is some text."""
    return data.decode("utf-8", "surrogateescape")


def executed(output: str) -> int:
    """How many inputs a run has tried, from what libFuzzer prints at its end."""
    found = re.search(r"number_of_executed_units: (\d+)", output)
    return int(found[1]) if found else 0
