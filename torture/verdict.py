"""The verdict about a planted bug: whether it was caught, and as what. It is printed as a line or in a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torture.checker import FindingKind


@dataclass(frozen=True, slots=True)
class Verdict:
    """The result of the trial of one bug.

    Attributes:
        expected: the expected kinds of fault, of which the checker must find at least one; empty if nothing is planted.
        found: the kinds of fault that the checker has found.
        broken: other failures, one sentence each: a user who could not be read, or an exception in the suite.
        tried: whether there was evidence to check.
        seconds: the duration of the trial.
    """

    name: str
    expected: tuple[FindingKind, ...]
    found: frozenset[FindingKind]
    broken: tuple[str, ...]
    tried: bool
    seconds: float

    @property
    def right(self) -> bool:
        """True if the bug was caught as expected, or if no bug was planted and nothing was found."""
        if not self.expected:
            return self.tried and not self.found and not self.broken
        return not self.found.isdisjoint(self.expected)

    @property
    def kinds(self) -> str:
        """The kinds of fault that were found, expected kinds first."""
        order = sorted(self.found, key=lambda kind: (kind not in self.expected, kind))
        return ", ".join(f'"{kind}"' for kind in order) or "nothing"

    def __str__(self) -> str:
        return "; ".join((f"{self._outcome}: {self.name} as {self.kinds}", *self.broken))

    @property
    def _outcome(self) -> str:
        if not self.tried:
            return "not tried"
        if not self.expected:
            return "accused" if self.found else "not accused"
        return "caught" if self.right else "not caught"


def table(verdicts: Sequence[Verdict]) -> str:
    """Return a table with one row for each verdict."""
    rows = [("planted", "found", "", "seconds")]
    for each in verdicts:
        right = "as it should be" if each.right else "NOT AS IT SHOULD BE"
        rows.append((each.name, each.kinds, right, f"{each.seconds:.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
