"""The order of test files: those that take longest run first.

pytest-xdist gives each process whole files. A file of several minutes that starts last would keep one process busy
while the others have nothing left to do.
"""

from __future__ import annotations

from typing import Final

COSTLY_FILES: Final = (
    "tests/torture/test_caught.py",
    "tests/deploy/test_monitoring.py",
    "tests/cli/importing/test_import.py",
    "tests/integration/performance/test_benchmarks.py",
    "tests/torture/test_torture.py",
    "tests/cli/exporting/test_export.py",
    "tests/property/test_specification.py",
    "tests/cli/process/test_connecting.py",
    "tests/browser/test_looks.py",
    "tests/acceptance/operation/test_serve.py",
    "tests/faults/test_replica.py",
    "tests/cli/commands/test_money.py",
    "tests/deploy/test_dockerfile.py",
    "tests/acceptance/verification/test_prove.py",
    "tests/client/test_killed.py",
    "tests/acceptance/connection/test_overload.py",
    "tests/acceptance/access/test_key_commands.py",
    "tests/acceptance/events/test_events.py",
    "tests/faults/test_relay.py",
    "tests/torture/test_mutants.py",
    "tests/fuzz/test_service.py",
)
"""Files that take a minute or more, the longest first."""

_PLACES: Final = {name: place for place, name in enumerate(COSTLY_FILES)}


def place_of(node_id: str) -> int:
    """Return the place of a test's file among the slow ones, or their number for any other file."""
    return _PLACES.get(node_id.partition("::")[0], len(_PLACES))
