"""The admission limit, estimated from the waiting times of earlier requests."""

from __future__ import annotations

import pytest

from saldo.engine.admission import AHEAD_MIN, REQUESTS_FIRST, REQUESTS_MIN, Room

SECONDS_MAX = 0.1
REQUESTS_MAX = 10_000


def _room() -> Room:
    return Room(SECONDS_MAX, REQUESTS_MAX)


def test_initial_limit_admits_some_requests() -> None:
    assert _room().requests == REQUESTS_FIRST
    assert Room(SECONDS_MAX, 3).requests == 3


@pytest.mark.parametrize("per_second", [20_000, 50_000, 80_000])
def test_limit_is_the_number_decided_within_the_maximum_wait(per_second: int) -> None:
    room = _room()
    for _ in range(50):
        room.learn(per_second // 20, 0.05)
    assert room.requests == pytest.approx(per_second * SECONDS_MAX, rel=0.01)


def test_limit_adapts_quickly_in_both_directions() -> None:
    room = _room()
    for _ in range(10):
        room.learn(3000, 1.0)
    assert room.requests < 2000
    for _ in range(10):
        room.learn(3000, 0.05)
    assert room.requests > 5000


def test_slow_commit_with_a_short_queue_is_ignored() -> None:
    room = _room()
    room.learn(AHEAD_MIN - 1, 60.0)
    assert room.requests == REQUESTS_FIRST


def test_limit_is_at_least_one_and_at_most_the_queue_size() -> None:
    room, small = _room(), Room(SECONDS_MAX, 3)
    for each in (room, small):
        for _ in range(100):
            each.learn(5000, 60.0)
    assert (room.requests, small.requests) == (REQUESTS_MIN, 3)
    for _ in range(100):
        room.learn(5000, 0.0001)
    assert REQUESTS_MAX * 0.99 < room.requests <= REQUESTS_MAX
