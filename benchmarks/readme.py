"""Tables in the documentation, written from the CSV files and from nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks import report
from benchmarks.machine import ROOT

DIRECTORY = ROOT / "docs" / "benchmarks"
"""Where the project keeps its figures."""

MARKS = re.compile(
    r"(<!-- benchmarks:(?P<scale>\w+)(?P<targets> targets)? -->\n).*?(<!-- end -->)", re.DOTALL
)


def render(directory: Path) -> None:
    """Fills the tables of README.md in the directory, and of the project's own if it is the project's."""
    paths = [directory / "README.md"]
    if directory.resolve() == DIRECTORY:
        paths += [ROOT / "README.md", ROOT / "README.ru.md"]
    for path in paths:
        if path.exists():
            path.write_text(rendered(path.read_text("utf-8"), directory), "utf-8")


def rendered(text: str, directory: Path) -> str:
    """The text with each marked table as the CSV file in the directory has it."""

    def fill(match: re.Match[str]) -> str:
        rows = report.read(directory / f"{match['scale']}.csv")
        if not rows:
            return match[0]
        table = report.table(rows, only_targets=bool(match["targets"]))
        return f"{match[1]}\n{table}\n{match[4]}"

    return MARKS.sub(fill, text)
