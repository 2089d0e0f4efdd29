"""What has come of a planted bug: caught or not, and as what. Printed, a line or a table."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from torture.checker import Kind


@dataclass(frozen=True, slots=True)
class Verdict:
    """Of one bug.

    Attributes:
        expected: as what it is to be caught, any of these; nothing is planted: none.
        found: the kinds of fault that the checker has found.
        broken: what went wrong beside that, a sentence each: of a user who could not be read, or of the suite.
        tried: whether there was evidence to be checked.
        seconds: all in all.
    """

    name: str
    expected: tuple[Kind, ...]
    found: frozenset[Kind]
    broken: tuple[str, ...]
    tried: bool
    seconds: float

    @property
    def right(self) -> bool:
        """Whether the suite has done its work: caught as expected; or, without a bug, accused of nothing."""
        if not self.expected:
            return self.tried and not self.found and not self.broken
        return not self.found.isdisjoint(self.expected)

    @property
    def kinds(self) -> str:
        """What was found, what was expected first."""
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
    """A line for each."""
    rows = [("planted", "found", "", "seconds")]
    for each in verdicts:
        right = "as it should be" if each.right else "NOT AS IT SHOULD BE"
        rows.append((each.name, each.kinds, right, f"{each.seconds:.0f}"))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    )
