"""Tables of a run's measurements, printed at its end and shown in docs/reference/reliability.md.

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
from torture.nemesis import InjectedFault

PAGE = Path(__file__).parents[1] / "docs" / "reference" / "reliability.md"
SUMMARY = "summary.json"

TABLE_MARKERS = re.compile(r"(<!-- torture:(?P<table>\w+) -->\n).*?(<!-- end -->)", re.DOTALL)

_CALLS = {
    "Post": "`POST /v1/transaction`, or a line of `POST /v1/transactions`",
    "ReadBalance": "`GET /v1/user/{id}/balance`, now or at a date",
    "ReadTransaction": "`GET /v1/transaction/{uuid}`",
    "ListTransactions": "`GET /v1/user/{id}/transactions`",
}


class Summary(msgspec.Struct):
    """The summary of a run, stored beside its evidence.

    Attributes:
        counts: the number of calls by result, such as "Post 200" or "Post unanswered".
        deliveries: the number of deliveries to each consumer, redeliveries included.
        faults_found: None if the evidence was not checked.
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


def recovery_table(happened: Sequence[InjectedFault]) -> str:
    """Return a table with one row for each kind of fault.

    The times are those of faults that ran alone, if there are any.
    """
    kinds: dict[str, list[InjectedFault]] = {}
    for each in happened:
        kinds.setdefault(each.kind, []).append(each)
    rows = [
        "| fault | times injected | service recovered, median | service recovered, maximum | longest outage "
        "| consumers recovered, median |",
        "|---|---|---|---|---|---|",
    ]
    for kind in sorted(kinds):
        alone = [each for each in kinds[kind] if not each.concurrent_with] or kinds[kind]
        again = [each.recovery_seconds for each in alone]
        told = [each.delivery_recovery_seconds for each in alone]
        unserved = [each.unserved_seconds for each in alone]
        rows.append(
            f"| {kind} | {len(kinds[kind])} | {_median(again)} | {_longest(again)} "
            f"| {_longest(unserved)} | {_median(told)} |"
        )
    return "\n".join(rows)


def totals_table(summary: Summary, happened: Sequence[InjectedFault]) -> str:
    """Return a table of the calls, their results, and the events."""
    rows = ["| | |", "|---|---|"]
    rows.append(f"| faults | {len(happened)}, of {len({each.kind for each in happened})} kinds |")
    for call, name in _CALLS.items():
        by_end = _by_end(summary.counts, call)
        total = sum(by_end.values())
        ends = "; ".join(f"{end}: {count:,}" for end, count in sorted(by_end.items()))
        rows.append(f"| {name} | {total:,} ({ends}) |")
    rows.append(f"| transactions recorded | {summary.recorded:,} |")
    for consumer, count in sorted(summary.deliveries.items()):
        rows.append(
            f"| deliveries to the consumer `{consumer}`, redeliveries included | {count:,} |"
        )
    found = "not checked" if summary.faults_found is None else f"{summary.faults_found}"
    rows.append(f"| **faults of the service that the checker found** | **{found}** |")
    return "\n".join(rows)


def origin(summary: Summary) -> str:
    """Return a sentence with the run's length, seed and machine, and the command that repeats it."""
    return (
        f"{summary.seconds:.0f} seconds of faults, seed `{summary.seed}`, {summary.machine}. "
        f"To repeat the run: `make torture TORTURE_SECONDS={summary.seconds:.0f} ARGS='--seed {summary.seed}'`."
    )


def render(directory: Path, page: Path = PAGE) -> None:
    """Fill in the tables of the page."""
    summary, happened = load(directory), nemesis.load(directory)
    tables = {
        "origin": origin(summary),
        "recovery": recovery_table(happened),
        "totals": totals_table(summary, happened),
    }
    text = page.read_text("utf-8")
    page.write_text(
        TABLE_MARKERS.sub(lambda m: f"{m[1]}\n{tables[m['table']]}\n\n{m[3]}", text), "utf-8"
    )


def _by_end(counts: Mapping[str, int], call: str) -> dict[str, int]:
    return {
        name.removeprefix(f"{call} "): count
        for name, count in counts.items()
        if name.startswith(f"{call} ")
    }


def _median(times: Sequence[float | None]) -> str:
    known = [each for each in times if each is not None]
    return f"{median(known):.2f} s" if len(known) == len(times) else "never"


def _longest(times: Sequence[float | None]) -> str:
    known = [each for each in times if each is not None]
    return f"{max(known):.2f} s" if len(known) == len(times) else "never"


if __name__ == "__main__":
    render(Path(sys.argv[1]))
