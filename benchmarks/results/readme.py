"""Tables in the documentation, generated from the CSV files alone."""

from __future__ import annotations

import re
from pathlib import Path

from benchmarks.machine import ROOT
from benchmarks.results import report, summary

DIRECTORY = ROOT / "docs" / "benchmarks"
"""The directory with the project's published figures."""

MARKS = re.compile(
    r"(?P<begin><!-- (?P<kind>benchmarks|speed):(?P<scale>\w+)(?: (?P<option>\w+))? -->\n).*?(?P<end><!-- end -->)",
    re.DOTALL,
)
"""The marks around a table.

`benchmarks` is the whole table, or with the option `targets` its rows that have a target. `speed` is the summary in the
language that the option names, by default English.
"""


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
        if match["kind"] == "speed":
            table = summary.table(rows, match["option"] or "en")
        else:
            table = report.table(rows, only_targets=match["option"] == "targets")
        return f"{match['begin']}\n{table}\n{match['end']}"

    return MARKS.sub(fill, text)
