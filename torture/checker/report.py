"""The whole check: evidence in, what was checked and all faults out."""

from __future__ import annotations

from dataclasses import dataclass

from torture.checker.events import check_events
from torture.checker.existence import check_existence
from torture.checker.fault import Fault
from torture.checker.final import read_final
from torture.checker.log import check_log
from torture.checker.observations import observe
from torture.checker.order import check_order
from torture.checker.outcomes import check_outcomes
from torture.history import Evidence


@dataclass(frozen=True, slots=True)
class Report:
    """What the check has come to.

    Attributes:
        counts: how many of what were looked at.
        faults: none: all that was promised was kept, as far as the evidence goes.
    """

    counts: dict[str, int]
    faults: list[Fault]


def check(evidence: Evidence) -> Report:
    """Checks the evidence of one run. Nothing in it raises: what can't be read is a fault of its own."""
    faults: list[Fault] = []
    final = read_final(evidence.accounts, faults)
    observations = observe(evidence.operations, final)
    faults += observations.faults
    faults += check_existence(evidence.operations, final)
    faults += check_outcomes(observations, final)
    faults += check_order(observations, final)
    faults += check_log(final)
    faults += check_events(evidence.deliveries, evidence.consumers, final)
    counts = {
        "users": len(final.accounts),
        "operations": len(evidence.operations),
        "without an answer": sum(one.answered is None for one in evidence.operations),
        "uuids sent": len(observations.attempts),
        "transactions recorded": len(final.by_uuid),
        "answers that had to fit an order": sum(map(len, observations.of_user.values())),
        "consumers": len(evidence.consumers),
        "deliveries": len(evidence.deliveries),
    }
    return Report(counts, faults)
