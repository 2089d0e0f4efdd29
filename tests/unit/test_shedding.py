"""What is let in while the loop is behind with reading."""

from __future__ import annotations

from saldo.http.shedding import SHARE_MIN, Backlog

SECONDS_MAX = 0.1


def _let_in(backlog: Backlog) -> int:
    """Of a hundred."""
    return sum(backlog.lets_in() for _ in range(100))


def test_all_are_let_in_while_what_is_read_is_fresh() -> None:
    backlog = Backlog(SECONDS_MAX)
    for _ in range(100):
        backlog.look(0.01)
    assert backlog.share == 1
    assert _let_in(backlog) == 100


def test_fewer_are_let_in_while_it_is_old_and_some_always() -> None:
    backlog = Backlog(SECONDS_MAX)
    for _ in range(14):
        backlog.look(0.2)
    assert 45 <= _let_in(backlog) <= 51
    for _ in range(1000):
        backlog.look(5.0)
    assert backlog.share == SHARE_MIN
    assert _let_in(backlog) in {9, 10}


def test_all_are_let_in_again_within_twenty_looks() -> None:
    backlog = Backlog(SECONDS_MAX)
    for _ in range(1000):
        backlog.look(5.0)
    for _ in range(20):
        backlog.look(0.0)
    assert backlog.share == 1


def test_what_is_a_little_old_changes_nothing() -> None:
    backlog = Backlog(SECONDS_MAX)
    backlog.look(0.2)
    share = backlog.share
    for _ in range(100):
        backlog.look(0.06)
    assert backlog.share == share
