"""The list of decisions, generated from the headings of their pages."""

from __future__ import annotations

from pathlib import Path
from typing import Final

DIRECTORY: Final = Path(__file__).parents[1] / "docs/decisions"


def page() -> str:
    """Return the page in Markdown."""
    lines = [
        "# Design decisions",
        "",
        "Each page describes one decision: its context, the decision, and its consequences.",
        "",
    ]
    for path in sorted(DIRECTORY.glob("0*.md")):
        number, _, heading = path.read_text(encoding="utf-8").splitlines()[0][2:].partition(": ")
        lines.append(f"- [{number}]({path.name}): {heading[0].upper()}{heading[1:]}")
    return "\n".join(lines) + "\n"
