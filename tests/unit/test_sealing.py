"""Whose turn it is to seal, how long a sealer rests, and what follows what."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seal import FIRST_PREVIOUS, entry_bytes
from saldo.relay.sealing import (
    BACKLOG_SECONDS,
    SEAL_SECONDS,
    STEP_BACK,
    STEP_BACK_POSTING,
    TAKE_OVER_SECONDS,
    WAITED_SECONDS_MAX,
    Turn,
    rest_seconds,
    seal_of,
    step_back_seconds,
)
from saldo.store.errors import RejectedError
from saldo.store.seals import ENTRIES_MAX, LastSeal, by_shard
from saldo.store.statements import statement

MOMENT = datetime(2026, 11, 25, tzinfo=UTC)
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def written(shard: int, seq: int) -> bytes:
    uuid = UUID(int=seq)
    return entry_bytes(
        Entry(
            *(shard, seq, shard, seq, uuid, Kind.DEPOSIT, Outcome.POSTED, 1, seq),
            *(MOMENT, MOMENT, MOMENT),
        )
    )


def test_who_was_late_stands_back_as_long_as_another_one_seals() -> None:
    clock = Clock()
    turn = Turn(clock)
    assert turn.comes({1: 5})
    turn.lost()
    for seq in range(5, 15):
        assert not turn.comes({1: seq, 2: 7})
        clock.now += TAKE_OVER_SECONDS * 0.9
    assert not turn.comes({2: 7})
    clock.now += TAKE_OVER_SECONDS * 0.9
    assert not turn.comes({2: 7, 3: 1})
    clock.now += TAKE_OVER_SECONDS * 0.2
    assert turn.comes({2: 7, 3: 1})
    assert turn.comes({2: 7})


def test_what_is_new_after_a_quiet_time_is_left_to_the_other_one_for_a_moment() -> None:
    clock = Clock()
    turn = Turn(clock)
    turn.lost()
    clock.now += 100 * TAKE_OVER_SECONDS
    assert not turn.comes({1: 5})
    clock.now += TAKE_OVER_SECONDS
    assert turn.comes({1: 5})


@pytest.mark.parametrize(
    ("seconds", "tired", "waited", "posting", "rest"),
    [
        (0.02, 0, 0, False, 0),
        (0.02, 0, 0, True, 0),
        (0.02, 0.05, 0, True, 0.05),
        (0.02, 1, 0, False, 0.02 * STEP_BACK),
        (0.02, 1, 0, True, 0.02 * STEP_BACK_POSTING),
        (10, 1, 0, True, WAITED_SECONDS_MAX),
        (10, 1, 0.25, True, WAITED_SECONDS_MAX - 0.25),
        (0.02, 1, WAITED_SECONDS_MAX, True, 0),
        (0.02, 1, 5, True, 0),
        (0.02, 1, BACKLOG_SECONDS, True, 0.02 * STEP_BACK_POSTING),
        (10, 1, BACKLOG_SECONDS, True, SEAL_SECONDS),
    ],
)
def test_it_steps_back_from_much_only_as_far_as_it_has_to_wait_for_a_processor_and_nothing_waits_too_long(
    seconds: float, tired: float, waited: float, posting: bool, rest: float
) -> None:
    assert step_back_seconds(seconds, tired, waited, posting=posting) == rest


@pytest.mark.parametrize(
    ("seconds", "entries", "rest"),
    [
        (0, 0, SEAL_SECONDS),
        (0.25, ENTRIES_MAX // 2 - 1, SEAL_SECONDS - 0.5),
        (9, 0, SEAL_SECONDS / 4),
        (0, ENTRIES_MAX // 2, SEAL_SECONDS / 2),
        (0.05, 3 * ENTRIES_MAX, SEAL_SECONDS / 2 - 0.1),
        (9, 3 * ENTRIES_MAX, SEAL_SECONDS / 4),
    ],
)
def test_what_has_just_missed_a_round_is_sealed_as_soon_however_long_rounds_take(
    seconds: float, entries: int, rest: float
) -> None:
    assert rest_seconds(seconds, entries) == pytest.approx(rest)


def test_the_statement_takes_as_much_as_it_is_said_to() -> None:
    assert f"< {ENTRIES_MAX}\n" in statement("seals_entries")


def test_only_what_follows_is_sealed() -> None:
    last = LastSeal(3, b"\x01" * 32)
    some = [written(5, seq) for seq in (4, 5, 6)]
    seal = seal_of(5, last, some)
    assert seal is not None
    assert (seal.shard, seal.first_seq, seal.last_seq, seal.previous) == (5, 4, 6, last.hash)
    assert seal_of(5, last, [*some, written(5, 8)]) == seal
    assert seal_of(5, last, some[1:]) is None
    assert seal_of(5, last, []) is None
    assert seal_of(5, LastSeal(0, FIRST_PREVIOUS), some) is None


def test_a_copy_is_taken_apart_by_shard() -> None:
    some = {2: [written(2, 1), written(2, 2)], 63: [written(63, 9)]}
    body = b"".join(entry for each in some.values() for entry in each)
    assert by_shard(HEADER + body + TRAILER) == some
    assert by_shard(HEADER + TRAILER) == {}
    for wrong in (b"", HEADER, body, HEADER + body, HEADER + body[1:] + TRAILER, body + TRAILER):
        with pytest.raises(RejectedError):
            by_shard(wrong)
