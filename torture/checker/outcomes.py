"""Check of each transaction against all attempts at it: all acknowledgements agree, and every entry was sent."""

from __future__ import annotations

from collections.abc import Iterator

from torture.checker.answers import Recorded, Unrecorded, find_difference, matches_request
from torture.checker.entry import Entry
from torture.checker.fault import Finding, FindingKind
from torture.checker.final import FinalRead
from torture.checker.observations import Observations, describe
from torture.history import Operation, Post


def check_outcomes(observations: Observations, final: FinalRead) -> Iterator[Finding]:
    """Yield faults between attempts, and entries that none of the attempts can have caused.

    Whether each answer agrees with the final log is checked where the answer is read (observations.py).
    """
    for attempts in observations.attempts.values():
        yield from _check_answers(attempts)
    for account in final.accounts.values():
        for entry in account.entries:
            attempts = observations.attempts.get(entry.uuid, [])
            if not candidates(attempts, entry):
                yield _unexplained_entry(attempts, entry)


def candidates(
    attempts: list[tuple[Operation, Recorded | Unrecorded]], entry: Entry
) -> list[Operation]:
    """Return the attempts that may have caused the entry.

    Such an attempt asked for exactly this content. Its outcome is unknown, or it was acknowledged without being marked
    as replayed. An unmarked outcome doesn't prove that the attempt took effect: the service retries by itself after a
    lost connection, and then learns the outcome without marking it as replayed.
    """
    return [
        operation
        for operation, verdict in attempts
        if (
            verdict is Unrecorded.UNKNOWN
            or (isinstance(verdict, Recorded) and not verdict.replayed)
        )
        and _matches(operation, entry)
    ]


def _matches(operation: Operation, entry: Entry) -> bool:
    return isinstance(operation.call, Post) and matches_request(operation.call, entry)


def _check_answers(attempts: list[tuple[Operation, Recorded | Unrecorded]]) -> Iterator[Finding]:
    """Yield a fault for each acknowledgement that differs from the first acknowledgement of the same uuid."""
    first: Operation | None = None
    for operation, verdict in attempts:
        if not isinstance(verdict, Recorded):
            continue
        if first is None:
            first = operation
        elif name := find_difference(first.body or {}, operation.body or {}):
            yield Finding(
                FindingKind.ANSWERS_DIFFER,
                operation.call.user_id,
                f"{name} differs between {describe(first)}, and {describe(operation)}",
            )


def _unexplained_entry(
    attempts: list[tuple[Operation, Recorded | Unrecorded]], entry: Entry
) -> Finding:
    if not attempts:
        why = "nobody sent it"
    elif not any(_matches(operation, entry) for operation, _ in attempts):
        why = f"nobody asked for that, but {describe(attempts[0][0])}"
        return Finding(FindingKind.CHANGED_TRANSACTION, entry.user_id, f"{entry}: {why}")
    else:
        why = "every attempt was a replay or recorded nothing: "
        why += "; ".join(describe(operation) for operation, _ in attempts)
    return Finding(FindingKind.TRANSACTION_OF_NOTHING, entry.user_id, f"{entry}: {why}")
