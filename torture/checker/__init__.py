"""The checker, which decides from a run's evidence alone whether Saldo kept its promises.

It uses nothing of the service's code. `check` takes the evidence and returns a report: the number of things that were
checked, and the faults as values.
"""

from torture.checker.fault import Finding, FindingKind
from torture.checker.report import Report, check

__all__ = ["Finding", "FindingKind", "Report", "check"]
