"""The whole check, from the evidence to a report of all faults."""

from __future__ import annotations

from dataclasses import dataclass

from torture.checker.events import check_events
from torture.checker.existence import check_existence
from torture.checker.fault import Finding
from torture.checker.final import read_final
from torture.checker.log import check_log
from torture.checker.observations import collect_observations
from torture.checker.order import check_order
from torture.checker.outcomes import check_outcomes
from torture.history import Evidence


@dataclass(frozen=True, slots=True)
class Report:
    """The result of a check.

    Attributes:
        counts: the number of checked items of each kind.
        faults: the faults that were found; empty if the evidence contradicts none of the promises.
    """

    counts: dict[str, int]
    faults: list[Finding]


def check(evidence: Evidence) -> Report:
    """Check the evidence of one run. Evidence that can't be read is reported as a fault and raises nothing."""
    faults: list[Finding] = []
    final = read_final(evidence.accounts, faults)
    observations = collect_observations(evidence.operations, final)
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
