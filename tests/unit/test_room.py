"""How many may wait, by how long those before them have waited."""

from __future__ import annotations

import pytest

from saldo.engine.room import AHEAD_MIN, REQUESTS_FIRST, REQUESTS_MIN, Room

SECONDS_MAX = 0.1
REQUESTS_MAX = 10_000


def _room() -> Room:
    return Room(SECONDS_MAX, REQUESTS_MAX)


def test_at_first_some_may_wait() -> None:
    assert _room().requests == REQUESTS_FIRST
    assert Room(SECONDS_MAX, 3).requests == 3


@pytest.mark.parametrize("per_second", [20_000, 50_000, 80_000])
def test_as_many_may_wait_as_are_decided_in_the_time(per_second: int) -> None:
    room = _room()
    for _ in range(50):
        room.learn(per_second // 20, 0.05)
    assert room.requests == pytest.approx(per_second * SECONDS_MAX, rel=0.01)


def test_it_is_soon_learnt_and_soon_forgotten() -> None:
    room = _room()
    for _ in range(10):
        room.learn(3000, 1.0)
    assert room.requests < 2000
    for _ in range(10):
        room.learn(3000, 0.05)
    assert room.requests > 5000


def test_a_slow_commit_with_few_waiting_tells_nothing() -> None:
    room = _room()
    room.learn(AHEAD_MIN - 1, 60.0)
    assert room.requests == REQUESTS_FIRST


def test_some_may_always_wait_and_never_more_than_the_queue_holds() -> None:
    room, small = _room(), Room(SECONDS_MAX, 3)
    for each in (room, small):
        for _ in range(100):
            each.learn(5000, 60.0)
    assert (room.requests, small.requests) == (REQUESTS_MIN, 3)
    for _ in range(100):
        room.learn(5000, 0.0001)
    assert REQUESTS_MAX * 0.99 < room.requests <= REQUESTS_MAX
