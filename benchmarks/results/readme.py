"""Tables in the documentation, generated from the CSV files alone."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.results import report

DIRECTORY = ROOT / "docs" / "benchmarks"
"""The directory with the project's published figures."""

MARKS = re.compile(
    r"(<!-- benchmarks:(?P<scale>\w+)(?P<targets> targets)? -->\n).*?(<!-- end -->)", re.DOTALL
)


def render(directory: Path) -> None:
    """Update the tables in README.md of a directory.

    If it is the project's directory of figures, the tables in the project's own READMEs are updated, too.
    """
    paths = [directory / "README.md"]
    if directory.resolve() == DIRECTORY:
        paths += [ROOT / "README.md", ROOT / "README.ru.md"]
    for path in paths:
        if path.exists():
            path.write_text(replace_tables(path.read_text("utf-8"), directory), "utf-8")


def replace_tables(text: str, directory: Path) -> str:
    """Return a text in which each marked table is replaced by the rows of its CSV file."""

    def fill(match: re.Match[str]) -> str:
        rows = report.read(directory / f"{match['scale']}.csv")
        if not rows:
            return match[0]
        table = report.table(rows, only_targets=bool(match["targets"]))
        return f"{match[1]}\n{table}\n{match[4]}"

    return MARKS.sub(fill, text)
