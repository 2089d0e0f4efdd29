"""What a run has measured, as tables: printed at its end, and in docs/reference/reliability.md.

`python -m torture.report DIRECTORY` writes the page's tables from the evidence of a run.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median

import msgspec

from torture import nemesis
from torture.nemesis import Happened

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "reliability.md"
SUMMARY = "summary.json"

MARKS = re.compile(r"(<!-- torture:(?P<table>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_CALLS = {
    "Post": "`POST /v1/transaction`, or a line of `POST /v1/transactions`",
    "ReadBalance": "`GET /v1/user/{id}/balance`, now or at a date",
    "ReadTransaction": "`GET /v1/transaction/{uuid}`",
    "ListTransactions": "`GET /v1/user/{id}/transactions`",
}


class Summary(msgspec.Struct):
    """Of a run, beside its evidence.

    Attributes:
        counts: of calls and what became of them, as "Post 200" or "Post unanswered".
        deliveries: events by consumer, repetitions and all.
        faults_found: None: nobody has checked.
    """

    seed: str
    seconds: float
    machine: str
    recorded: int
    counts: dict[str, int]
    deliveries: dict[str, int]
    left_out: dict[str, str]
    faults_found: int | None = None


def save(summary: Summary, directory: Path) -> None:
    (directory / SUMMARY).write_bytes(msgspec.json.format(msgspec.json.encode(summary)))


def load(directory: Path) -> Summary:
    return msgspec.json.decode((directory / SUMMARY).read_bytes(), type=Summary)


def recovery(happened: Sequence[Happened]) -> str:
    """A line for each kind. Times are of those that nothing else accompanied, if there are any."""
    kinds: dict[str, list[Happened]] = {}
    for each in happened:
        kinds.setdefault(each.kind, []).append(each)
    rows = [
        "| fault | times | available again, median | at the longest | nobody served, at the longest "
        "| consumers told again, median |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted(kinds):
        alone = [each for each in kinds[kind] if not each.beside] or kinds[kind]
        again = [each.again_seconds for each in alone]
        told = [each.told_again_seconds for each in alone]
        unserved = [each.unserved_seconds for each in alone]
        rows.append(
            f"| {kind} | {len(kinds[kind])} | {_middle(again)} | {_longest(again)} "
            f"| {_longest(unserved)} | {_middle(told)} |"
        )
    return "\n".join(rows)


def totals(summary: Summary, happened: Sequence[Happened]) -> str:
    """What was done and what became of it."""
    rows = ["| | |", "|---|---|"]
    rows.append(f"| faults | {len(happened)}, of {len({each.kind for each in happened})} kinds |")
    for call, name in _CALLS.items():
        by_end = _by_end(summary.counts, call)
        total = sum(by_end.values())
        ends = ", ".join(f"{count:,} {end}" for end, count in sorted(by_end.items()))
        rows.append(f"| {name} | {total:,}: {ends} |")
    rows.append(f"| transactions recorded | {summary.recorded:,} |")
    for consumer, count in sorted(summary.deliveries.items()):
        rows.append(f"| events to the consumer `{consumer}`, repeated ones too | {count:,} |")
    found = "not checked" if summary.faults_found is None else f"{summary.faults_found}"
    rows.append(f"| **faults of the service that the checker found** | **{found}** |")
    return "\n".join(rows)


def origin(summary: Summary) -> str:
    """Where the figures come from."""
    return (
        f"{summary.seconds:.0f} seconds of faults, seed `{summary.seed}`, {summary.machine}. "
        f"The same again: `make torture TORTURE_SECONDS={summary.seconds:.0f} ARGS='--seed {summary.seed}'`."
    )


def render(directory: Path, page: Path = PAGE) -> None:
    """Fills the tables of the page."""
    summary, happened = load(directory), nemesis.load(directory)
    tables = {
        "origin": origin(summary),
        "recovery": recovery(happened),
        "totals": totals(summary, happened),
    }
    text = page.read_text("utf-8")
    page.write_text(MARKS.sub(lambda m: f"{m[1]}\n{tables[m['table']]}\n\n{m[3]}", text), "utf-8")


def _by_end(counts: Mapping[str, int], call: str) -> dict[str, int]:
    return {
        name.removeprefix(f"{call} "): count
        for name, count in counts.items()
        if name.startswith(f"{call} ")
    }


def _middle(times: Sequence[float | None]) -> str:
    known = [each for each in times if each is not None]
    return f"{median(known):.2f} s" if len(known) == len(times) else "never"


def _longest(times: Sequence[float | None]) -> str:
    known = [each for each in times if each is not None]
    return f"{max(known):.2f} s" if len(known) == len(times) else "never"


if __name__ == "__main__":
    render(Path(sys.argv[1]))
