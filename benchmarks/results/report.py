"""The rows of the report: a figure, its baseline, and whether it meets its target."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cost import ResourceUsage

COLUMNS = (
    *("subject", "name", "measured", "unit", "low", "high"),
    *("limit", "limit_value", "ratio", "target", "met"),
    *("service_us", "database_us", "driver_us", "driver_share", "others_share", "wal_bytes"),
    *("date", "commit", "machine"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """A requirement on a figure, on its ratio to the baseline, or on both."""

    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None

    def text(self, unit: str) -> str:
        """Format the target for the table."""
        parts = [
            f"{sign} {number(value)} {unit}"
            for sign, value in (("≥", self.at_least), ("≤", self.at_most))
            if value is not None
        ]
        parts += [
            f"ratio {sign} {value:g}"
            for sign, value in (("≥", self.ratio_at_least), ("≤", self.ratio_at_most))
            if value is not None
        ]
        return ", ".join(parts)

    def is_met(self, measured: float, ratio: float | None) -> bool | None:
        """Return whether the target is met, or None if it needs a baseline that was not measured."""
        if ratio is None and (self.ratio_at_least or self.ratio_at_most):
            return None
        return (
            (self.at_least is None or measured >= self.at_least)
            and (self.at_most is None or measured <= self.at_most)
            and (self.ratio_at_least is None or (ratio or 0) >= self.ratio_at_least)
            and (self.ratio_at_most is None or (ratio or 0) <= self.ratio_at_most)
        )


@dataclass(slots=True)
class Series:
    """The values of several rounds. The report shows their median."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Row:
    """A measured figure.

    Attributes:
        baseline: The name of the baseline, which was measured in the same run.
        limit_value: The value of the baseline; None if there is none.
        cost: The cost of all rounds together.
    """

    name: str
    measured: Series
    unit: str
    baseline: str = ""
    limit_value: float | None = None
    target: Target | None = None
    cost: ResourceUsage | None = None

    @property
    def ratio(self) -> float | None:
        if not self.limit_value:
            return None
        return self.measured.median / self.limit_value


Record = dict[str, str]
"""A row as it is stored in the files: text values by column."""


def record(subject: str, row: Row, stamp: dict[str, str]) -> Record:
    """Convert a row to text values. `stamp` contains date, commit and machine."""
    target, ratio = row.target, row.ratio
    met = target.is_met(row.measured.median, ratio) if target else None
    values: dict[str, Any] = {
        "subject": subject,
        "name": row.name,
        "measured": plain(row.measured.median),
        "unit": row.unit,
        "low": plain(min(row.measured.values)),
        "high": plain(max(row.measured.values)),
        "limit": row.baseline,
        "limit_value": "" if row.limit_value is None else plain(row.limit_value),
        "ratio": "" if ratio is None else f"{ratio:.2f}",
        "target": target.text(row.unit) if target else "",
        "met": "" if met is None else "yes" if met else "no",
        **_costs(row.cost),
        **stamp,
    }
    return {column: values.get(column, "") for column in COLUMNS}


def number(value: float) -> str:
    """Format a number for people: two decimals below 10, one below 100, and separators between thousands."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def plain(value: float) -> str:
    """Format a number for files, with the same digits as `number` and without separators."""
    return number(value).replace(",", "")


def merge(old: Iterable[Record], new: Sequence[Record], subjects: Sequence[str]) -> list[Record]:
    """Replace the old rows of the subjects that were measured. The result is in the order of `subjects`.

    Old rows of unknown subjects are dropped.
    """
    measured = {row["subject"] for row in new}
    rows = [row for row in old if row["subject"] not in measured and row["subject"] in subjects]
    return sorted([*rows, *new], key=lambda row: subjects.index(row["subject"]))


def read(path: Path) -> list[Record]:
    """Return the rows of a CSV file, or an empty list if the file does not exist."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def write(stem: Path, rows: Sequence[Record]) -> None:
    """Write the rows as CSV and as JSON."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as output:
        writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    text = msgspec.json.format(msgspec.json.encode(list(rows)), indent=2)
    stem.with_suffix(".json").write_bytes(text + b"\n")


def table(rows: Sequence[Record], *, only_targets: bool = False) -> str:
    """Return a table in Markdown, and below it the date, commit and machine of the measurements."""
    rows = [row for row in rows if row["target"] or not only_targets]
    lines = [
        "| measured | | compared with | | ratio | target | met |",
        "|---|--:|---|--:|--:|---|---|",
    ]
    lines += [
        f"| {row['name']} | {_format(row['measured'])} {row['unit']} | {row['limit']} "
        f"| {_format(row['limit_value'])} | {row['ratio']} | {row['target']} | {row['met']} |"
        for row in rows
    ]
    stamps = dict.fromkeys((row["date"][:10], row["commit"], row["machine"]) for row in rows)
    lines += ["", *(f"{date}, commit {commit}: {machine}." for date, commit, machine in stamps)]
    return "\n".join(lines) + "\n"


def line(row: Record) -> str:
    """Format a row for the terminal."""
    text = f"{row['name']:<58} {_format(row['measured']):>9} {row['unit']:<6}"
    if row["limit"]:
        text += f"  {row['limit']} {_format(row['limit_value'])}, ratio {row['ratio'] or '?'}"
    if row["target"]:
        met = {"yes": "met", "no": "NOT MET"}.get(row["met"], "limit not measured in this run")
        text += f"  [{row['target']}: {met}]"
    if row["service_us"]:
        text += (
            f"\n{'':<58} µs of CPU each: service {row['service_us']}, database {row['database_us']}, "
            f"driver {row['driver_us']} ({row['driver_share']} of a core); "
            f"others on the machine {row['others_share']} of a core; WAL {row['wal_bytes']} B"
        )
    return text


def _format(value: str) -> str:
    return number(float(value)) if value else ""


def _costs(cost: ResourceUsage | None) -> Record:
    if cost is None or not cost.count:
        return {}
    each = 1e6 / cost.count
    return {
        "service_us": f"{cost.service * each:.1f}",
        "database_us": f"{cost.database * each:.1f}",
        "driver_us": f"{cost.driver * each:.1f}",
        "driver_share": f"{cost.driver / cost.elapsed:.2f}",
        "others_share": f"{cost.others / cost.elapsed:.2f}",
        "wal_bytes": f"{cost.wal_bytes / cost.count:.0f}",
    }
