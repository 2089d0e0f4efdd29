"""Rows: what was measured, the limit it is held against, and whether that meets the target."""

from __future__ import annotations

import csv
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec

from benchmarks.cost import Cost

COLUMNS = (
    *("subject", "name", "measured", "unit", "low", "high"),
    *("limit", "limit_value", "ratio", "target", "met"),
    *("service_us", "database_us", "driver_us", "driver_share", "others_share", "wal_bytes"),
    *("date", "commit", "machine"),
)


@dataclass(frozen=True, slots=True)
class Target:
    """What a row must reach: of the figure itself, or of its ratio to the limit, or of both."""

    at_least: float | None = None
    at_most: float | None = None
    ratio_at_least: float | None = None
    ratio_at_most: float | None = None

    def text(self, unit: str) -> str:
        """As the table shows it."""
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

    def met(self, measured: float, ratio: float | None) -> bool | None:
        """None: it is about a limit that was not measured."""
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
    """Values of several rounds; the median stands for them."""

    values: list[float] = field(default_factory=list)

    def add(self, value: float) -> None:
        self.values.append(value)

    @property
    def median(self) -> float:
        return statistics.median(self.values)


@dataclass(frozen=True, slots=True)
class Row:
    """One figure.

    Attributes:
        limit: the name of what it is held against, with its value, measured in the same run.
        cost: of all rounds together.
    """

    name: str
    measured: Series
    unit: str
    limit: str = ""
    limit_value: float | None = None
    target: Target | None = None
    cost: Cost | None = None

    @property
    def ratio(self) -> float | None:
        if not self.limit_value:
            return None
        return self.measured.median / self.limit_value


Record = dict[str, str]
"""A row as the files have it: by column, everything as text."""


def record(subject: str, row: Row, stamp: dict[str, str]) -> Record:
    """The row as text. `stamp`: date, commit and machine."""
    target, ratio = row.target, row.ratio
    met = target.met(row.measured.median, ratio) if target else None
    values: dict[str, Any] = {
        "subject": subject,
        "name": row.name,
        "measured": plain(row.measured.median),
        "unit": row.unit,
        "low": plain(min(row.measured.values)),
        "high": plain(max(row.measured.values)),
        "limit": row.limit,
        "limit_value": "" if row.limit_value is None else plain(row.limit_value),
        "ratio": "" if ratio is None else f"{ratio:.2f}",
        "target": target.text(row.unit) if target else "",
        "met": "" if met is None else "yes" if met else "no",
        **_costs(row.cost),
        **stamp,
    }
    return {column: values.get(column, "") for column in COLUMNS}


def number(value: float) -> str:
    """For people: three or four digits that matter, thousands apart."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:,.1f}" if abs(value) >= 10 else f"{value:,.2f}"


def plain(value: float) -> str:
    """For files: the same digits without separators."""
    return number(value).replace(",", "")


def merge(old: Iterable[Record], new: Sequence[Record], subjects: Sequence[str]) -> list[Record]:
    """Rows of the subjects that were measured replace all rows of those; in the order of `subjects`."""
    measured = {row["subject"] for row in new}
    rows = [row for row in old if row["subject"] not in measured and row["subject"] in subjects]
    return sorted([*rows, *new], key=lambda row: subjects.index(row["subject"]))


def read(path: Path) -> list[Record]:
    """The rows of a CSV file; none if there is no such file."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as source:
        return list(csv.DictReader(source))


def write(stem: Path, rows: Sequence[Record]) -> None:
    """As CSV and as JSON."""
    stem.parent.mkdir(parents=True, exist_ok=True)
    with stem.with_suffix(".csv").open("w", newline="", encoding="utf-8") as output:
        writer = csv.DictWriter(output, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    text = msgspec.json.format(msgspec.json.encode(list(rows)), indent=2)
    stem.with_suffix(".json").write_bytes(text + b"\n")


def table(rows: Sequence[Record], *, only_targets: bool = False) -> str:
    """Markdown, and below it when, of which commit and on what it was measured."""
    rows = [row for row in rows if row["target"] or not only_targets]
    lines = [
        "| measured | | held against | | ratio | target | met |",
        "|---|--:|---|--:|--:|---|---|",
    ]
    lines += [
        f"| {row['name']} | {_shown(row['measured'])} {row['unit']} | {row['limit']} "
        f"| {_shown(row['limit_value'])} | {row['ratio']} | {row['target']} | {row['met']} |"
        for row in rows
    ]
    stamps = dict.fromkeys((row["date"][:10], row["commit"], row["machine"]) for row in rows)
    lines += ["", *(f"{date}, commit {commit}: {machine}." for date, commit, machine in stamps)]
    return "\n".join(lines) + "\n"


def line(row: Record) -> str:
    """For the terminal, as soon as it is known."""
    text = f"{row['name']:<58} {_shown(row['measured']):>9} {row['unit']:<6}"
    if row["limit"]:
        text += f"  {row['limit']} {_shown(row['limit_value'])}, ratio {row['ratio'] or '?'}"
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


def _shown(value: str) -> str:
    return number(float(value)) if value else ""


def _costs(cost: Cost | None) -> Record:
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
