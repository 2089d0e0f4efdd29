"""The ratchets: what each counts, its rule, and the recorded numbers."""

from __future__ import annotations

import tomllib
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Final

from tests.style import docstrings, layout, names, phrases
from tests.style.source import ROOT, Place, modules, paths

NUMBERS: Final = Path(__file__).with_name("ratchets.toml")

SHOWN_MAX: Final = 25

_HEADER: Final = """\
# How many faults of each kind every package has. A number may only fall: `python -m tests.style` lowers all of them to
# what is counted. The rules are in CONTRIBUTING.md, "How we write".
"""
_ALLOWED: Final = "# --- exceptions, with their reasons"


@dataclass(frozen=True)
class Ratchet:
    """One rule, and how its faults are found."""

    rule: str
    find: Callable[[Mapping[str, str]], Iterable[Place]]
    """The argument is the list of exceptions, with their reasons."""


RATCHETS: Final = {
    "docstring_fragments": Ratchet(
        "A docstring is a complete sentence that begins with a verb (functions) or a noun phrase (classes, modules, "
        "constants). It does not continue the identifier in the line above.",
        lambda _: (place for module in modules() for place in docstrings.fragments(module)),
    ),
    "repeated_classes": Ratchet(
        "Two different classes never share a name unless one mirrors the other on purpose (client model, wire schema, "
        "stored row).",
        lambda allowed: names.repeated_classes(modules(), allowed),
    ),
    "participle_functions": Ratchet(
        "Functions are verbs and booleans are predicates. A bare participle does not say what a function takes or "
        "returns.",
        lambda _: (place for module in modules() for place in names.participle_functions(module)),
    ),
    "large_folders": Ratchet(
        f"A folder has one subject and at most {layout.FILES_MAX} source files.",
        lambda allowed: layout.large_folders(paths(), allowed),
    ),
    "loose_modules": Ratchet(
        "Every module of saldo belongs to a package.",
        lambda allowed: layout.loose_modules(paths(), allowed),
    ),
    "banned_phrases": Ratchet(
        "Prose is plain, idiomatic English: the subject is a noun, a condition has a verb, and technical acts have "
        "technical verbs.",
        lambda _: [
            *(place for path, text in phrases.pages() for place in phrases.in_page(path, text)),
            *(
                place
                for module in modules()
                if module.package != "tests"
                for place in phrases.in_module(module)
            ),
        ],
    ),
}


@cache
def read_numbers() -> dict[str, Any]:
    """Return the recorded numbers by ratchet and package, and the exceptions under `allowed`."""
    return tomllib.loads(NUMBERS.read_text(encoding="utf-8"))


def find(name: str) -> dict[str, list[Place]]:
    """Return the faults that one ratchet finds, by package."""
    found = defaultdict(list)
    for place in RATCHETS[name].find(read_numbers().get("allowed", {}).get(name, {})):
        found[place.package].append(place)
    return dict(found)


def compare(name: str, found: Mapping[str, list[Place]], numbers: Mapping[str, int]) -> list[str]:
    """Return a message for each package whose number of faults differs from the recorded one."""
    messages = []
    for package in sorted({*found, *numbers}):
        places, number = found.get(package, []), numbers.get(package, 0)
        if len(places) > number:
            messages.append(_rise(name, package, places, number))
        elif len(places) < number:
            messages.append(
                f"{name} of {package} fell from {number} to {len(places)}: lower the number to {len(places)} in "
                f"{NUMBERS.name} (python -m tests.style does it)."
            )
    return messages


def lower() -> list[str]:
    """Write the numbers that have fallen.

    Returns:
        A message for each number that has risen: these stay as they are.
    """
    numbers, risen = read_numbers(), []
    lines = [_HEADER]
    for name in RATCHETS:
        found, old = find(name), numbers.get(name, {})
        lines.append(f"[{name}]")
        for package in sorted({*found, *old}):
            count = len(found.get(package, []))
            if count > old.get(package, 0):
                risen.append(_rise(name, package, found[package], old.get(package, 0)))
            if least := min(count, old.get(package, 0)):
                lines.append(f'"{package}" = {least}')
        lines.append("")
    allowed = NUMBERS.read_text(encoding="utf-8").partition(_ALLOWED)[2]
    NUMBERS.write_text("\n".join(lines) + "\n" + _ALLOWED + allowed, encoding="utf-8")
    read_numbers.cache_clear()
    return risen


def _rise(name: str, package: str, places: list[Place], number: int) -> str:
    """Describe a number that has risen; files that were changed last come first."""
    ordered = sorted(places, key=lambda place: -(ROOT / place.path).stat().st_mtime)
    shown = "\n".join(f"  {place}" for place in ordered[:SHOWN_MAX])
    more = f"\n  and {len(places) - SHOWN_MAX} more" if len(places) > SHOWN_MAX else ""
    return f"{name} of {package} rose from {number} to {len(places)}. {RATCHETS[name].rule}\n{shown}{more}"
