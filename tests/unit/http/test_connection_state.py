"""The states of a connection: the table of transitions, and what each state permits."""

from __future__ import annotations

from itertools import product

import pytest

from saldo.http.connection.state import (
    CLIENT_ENDED,
    PARSING,
    TRANSITIONS,
    WRITING,
    ConnectionState,
    ConnectionStateMachine,
    ForbiddenTransitionError,
)

ALLOWED = [
    (before, after)
    for before, afters in TRANSITIONS.items()
    for after in ConnectionState
    if after in afters
]
FORBIDDEN = [
    pair
    for pair in product(ConnectionState, ConnectionState)
    if pair[1] not in TRANSITIONS[pair[0]]
]


def _machine(state: ConnectionState) -> ConnectionStateMachine:
    """Return a machine in a state, by way of allowed transitions."""
    machine = ConnectionStateMachine()
    for each in _path(state):
        machine.move_to(each)
    assert machine.state is state
    return machine


def _path(state: ConnectionState) -> list[ConnectionState]:
    paths = {ConnectionState.OPEN: list[ConnectionState]()}
    while state not in paths:
        for before, path in [*paths.items()]:
            for after in TRANSITIONS[before]:
                paths.setdefault(after, [*path, after])
    return paths[state]


def _name(pair: object) -> str:
    return pair.name if isinstance(pair, ConnectionState) else str(pair)


@pytest.mark.parametrize(("before", "after"), ALLOWED, ids=_name)
def test_allowed_transition_changes_the_state(
    before: ConnectionState, after: ConnectionState
) -> None:
    machine = _machine(before)
    machine.move_to(after)
    assert machine.state is after
    assert machine.may_parse == (after in PARSING)
    assert machine.may_write == (after in WRITING)
    assert machine.has_client_ended == (after in CLIENT_ENDED)


@pytest.mark.parametrize(("before", "after"), FORBIDDEN, ids=_name)
def test_forbidden_transition_raises_and_changes_nothing(
    before: ConnectionState, after: ConnectionState
) -> None:
    machine = _machine(before)
    with pytest.raises(ForbiddenTransitionError, match=f"{before.name} to {after.name}"):
        machine.move_to(after)
    assert machine.state is before


def test_table_has_a_row_for_each_state() -> None:
    assert set(TRANSITIONS) == set(ConnectionState)


@pytest.mark.parametrize("before", ConnectionState)
def test_no_transition_permits_parsing_or_writing_again(before: ConnectionState) -> None:
    for after in TRANSITIONS[before]:
        assert before in PARSING or after not in PARSING
        assert before in WRITING or after not in WRITING
        assert before not in CLIENT_ENDED or after not in {
            ConnectionState.OPEN,
            ConnectionState.REJECTING,
            ConnectionState.LINGERING,
        }


@pytest.mark.parametrize("before", ConnectionState)
def test_every_connection_can_be_closed(before: ConnectionState) -> None:
    machine = _machine(before)
    machine.close()
    assert machine.state in {ConnectionState.CLOSING, ConnectionState.CLOSED}
    assert not machine.may_parse
    assert not machine.may_write
    machine.close()


def test_rejection_and_end_of_the_client_side_come_in_any_order() -> None:
    machine = ConnectionStateMachine()
    machine.reject()
    machine.end_client_side()
    assert machine.state is ConnectionState.REJECTING_HALF_CLOSED
    machine = ConnectionStateMachine()
    machine.end_client_side()
    machine.reject()
    assert machine.state is ConnectionState.REJECTING_HALF_CLOSED
