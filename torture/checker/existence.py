"""Check that a user who was found once is found by every later call and by the final read."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from math import inf
from typing import Final

from torture.checker.fault import Finding, FindingKind
from torture.checker.final import FinalRead
from torture.checker.observations import describe
from torture.history import Operation, ReadTransaction


def check_existence(operations: Sequence[Operation], final: FinalRead) -> Iterator[Finding]:
    """Yield a fault for each user who was found once, but is missing in the final read or is not found by a later
    call."""
    found: dict[int, Operation] = {}
    for operation in _answered_operations(operations):
        if operation.status in _FOUND:
            first = found.setdefault(operation.call.user_id, operation)
            if (operation.answered or inf) < (first.answered or inf):
                found[operation.call.user_id] = operation
    for user_id, operation in found.items():
        if user_id not in final.accounts:
            message = f"{describe(operation)}: the user isn't in the final read"
            yield Finding(FindingKind.LOST, user_id, message)
    for operation in _answered_operations(operations):
        first_found = found.get(operation.call.user_id)
        if operation.status != 404 or first_found is None:
            continue
        if operation.invoked > (first_found.answered or inf):
            message = f"{describe(operation)}: not found, and was before: {describe(first_found)}"
            yield Finding(FindingKind.UNEXPLAINED_OUTCOME, operation.call.user_id, message)


def _answered_operations(operations: Sequence[Operation]) -> Iterator[Operation]:
    """Yield the answered operations whose status shows whether the user exists.

    A read by uuid is left out, because its 404 refers to the transaction.
    """
    for operation in operations:
        if operation.answered is not None and not isinstance(operation.call, ReadTransaction):
            yield operation


_FOUND: Final = frozenset({200, 402})
