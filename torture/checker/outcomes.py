"""Each transaction against all attempts at it: there once when acknowledged, and there only if somebody asked."""

from __future__ import annotations

from collections.abc import Iterator

from torture.checker.answers import Recorded, Unrecorded, asks_for, difference
from torture.checker.entry import Entry
from torture.checker.fault import Fault, Kind
from torture.checker.final import FinalRead
from torture.checker.observations import Observations, describe
from torture.history import Operation, Post


def check_outcomes(observations: Observations, final: FinalRead) -> Iterator[Fault]:
    """Faults between attempts, and entries that none of them can have brought about.

    That each answer agrees with what is there is seen where it is read (observations.py).
    """
    for attempts in observations.attempts.values():
        yield from _check_answers(attempts)
    for account in final.accounts.values():
        for entry in account.entries:
            attempts = observations.attempts.get(entry.uuid, [])
            if not candidates(attempts, entry):
                yield _of_nothing(attempts, entry)


def candidates(
    attempts: list[tuple[Operation, Recorded | Unrecorded]], entry: Entry
) -> list[Operation]:
    """The attempts that can be the one that took effect.

    They asked for just that, and were answered with an outcome that isn't marked as replayed, or it isn't known
    what became of them. Not marked doesn't mean that it took effect: the service sends again by itself, and then
    learns the outcome without marking it.
    """
    return [
        operation
        for operation, verdict in attempts
        if (
            verdict is Unrecorded.UNKNOWN
            or (isinstance(verdict, Recorded) and not verdict.replayed)
        )
        and _asked(operation, entry)
    ]


def _asked(operation: Operation, entry: Entry) -> bool:
    return isinstance(operation.call, Post) and asks_for(operation.call, entry)


def _check_answers(attempts: list[tuple[Operation, Recorded | Unrecorded]]) -> Iterator[Fault]:
    """All acknowledged attempts of a uuid were told the same."""
    first: Operation | None = None
    for operation, verdict in attempts:
        if not isinstance(verdict, Recorded):
            continue
        if first is None:
            first = operation
        elif name := difference(first.body or {}, operation.body or {}):
            yield Fault(
                Kind.ANSWERS_DIFFER,
                operation.call.user_id,
                f"{name} differs between {describe(first)}, and {describe(operation)}",
            )


def _of_nothing(attempts: list[tuple[Operation, Recorded | Unrecorded]], entry: Entry) -> Fault:
    if not attempts:
        why = "nobody sent it"
    elif not any(_asked(operation, entry) for operation, _ in attempts):
        why = f"nobody asked for that, but {describe(attempts[0][0])}"
        return Fault(Kind.CHANGED_TRANSACTION, entry.user_id, f"{entry}: {why}")
    else:
        why = "every attempt was a replay or recorded nothing: "
        why += "; ".join(describe(operation) for operation, _ in attempts)
    return Fault(Kind.TRANSACTION_OF_NOTHING, entry.user_id, f"{entry}: {why}")
