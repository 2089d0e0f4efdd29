"""The check of one user's order, compared with all orders of the attempts themselves."""

from __future__ import annotations

from itertools import permutations

from hypothesis import event, given, settings
from hypothesis import strategies as st

from tests.torture.histories import transaction
from torture.checker import FindingKind, check
from torture.history import Account, Evidence, ListTransactions, Operation, Post

LOG = tuple(transaction(number, "DEPOSIT", "1.00", f"{number}.00") for number in (1, 2))
"""A log of two deposits."""


@st.composite
def operations(draw: st.DrawFn) -> list[Operation]:
    """Return attempts at both, with and without an answer, marked as replayed or not, and lists."""
    made = []
    for client in range(draw(st.integers(2, 5))):
        invoked = draw(st.integers(0, 8))
        answered = draw(st.none() | st.integers(invoked, 9))
        if client >= 2 and draw(st.booleans()):
            made.append(_list(client, invoked, answered, draw(st.integers(0, 2))))
            continue
        entry = LOG[client] if client < 2 else draw(st.sampled_from(LOG))
        post = Post(entry["uuid"], 1, "DEPOSIT", "1", entry["timestamp"])
        if answered is None:
            made.append(Operation(client, invoked, None, post))
        else:
            replayed = draw(st.booleans())
            made.append(Operation(client, invoked, answered, post, 200, entry, replayed))
    return made


@given(operations())
@settings(max_examples=600, deadline=None)
def test_check_agrees_with_trying_all_attempts_in_all_orders(
    made: list[Operation],
) -> None:
    expected = any(_explains(order) for order in permutations(made))
    event(f"has an order: {expected}")

    faults = check(Evidence(made, [Account(1, "2.00", LOG)], [], ())).faults

    assert {fault.kind for fault in faults} <= {
        FindingKind.NOT_LINEARIZABLE,
        FindingKind.TRANSACTION_OF_NOTHING,
    }
    assert (faults == []) == expected


def _explains(order: tuple[Operation, ...]) -> bool:
    """Return whether the operations in this order can have been answered so, and leave the whole log."""
    latest = 0.0
    states = {0}
    for operation in order:
        latest = max(latest, operation.invoked)
        if operation.answered is not None and operation.answered < latest:
            return False
        states = {after for state in states for after in _step(state, operation)}
    return len(LOG) in states


def _step(state: int, operation: Operation) -> set[int]:
    if isinstance(operation.call, ListTransactions):
        if operation.body is None:
            return {state}
        return {state} if len(operation.body["items"]) == state else set()
    assert isinstance(operation.call, Post)
    number = next(entry["number"] for entry in LOG if entry["uuid"] == operation.call.uuid)
    after = set()
    if state == number - 1 and not operation.replayed:
        after.add(number)
    if state >= number or operation.answered is None:
        after.add(state)  # Another attempt took effect before, or the outcome is unknown.
    return after


def _list(client: int, invoked: float, answered: float | None, length: int) -> Operation:
    call = ListTransactions(1, 9)
    if answered is None:
        return Operation(client, invoked, None, call)
    body = {"items": [*reversed(LOG[:length])], "next_cursor": None}
    return Operation(client, invoked, answered, call, 200, body)
