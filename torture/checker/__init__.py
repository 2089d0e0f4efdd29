"""Decides from a run's evidence alone whether what Saldo promises was kept. It knows nothing of the service.

`check` takes the evidence and gives a report: what was looked at, and faults as values.
"""

from torture.checker.fault import Fault, Kind
from torture.checker.report import Report, check

__all__ = ["Fault", "Kind", "Report", "check"]
