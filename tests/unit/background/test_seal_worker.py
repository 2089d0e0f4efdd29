"""The sealer's turns, its pauses, and the order of seals."""

from __future__ import annotations

from datetime import UTC, datetime
from uuid import UUID

import pytest

from saldo.background.seal_worker import (
    BACKLOG_SECONDS,
    PAUSE_FACTOR_POSTING,
    SEAL_SECONDS,
    STEP_BACK,
    TAKE_OVER_SECONDS,
    UNSEALED_SECONDS_MAX,
    SealerStandby,
    build_seal,
    compute_backlog_pause_seconds,
    compute_pause_seconds,
)
from saldo.ledger.model import Entry, Kind, Outcome
from saldo.ledger.seals import FIRST_PREVIOUS, encode_entry
from saldo.store.errors import RejectedError
from saldo.store.seals import ENTRIES_MAX, LastSeal, split_by_shard
from saldo.store.statements import load_statement

MOMENT = datetime(2026, 11, 25, tzinfo=UTC)
HEADER, TRAILER = b"PGCOPY\n\xff\r\n\0" + bytes(8), b"\xff\xff"


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def make_entry_bytes(shard: int, seq: int) -> bytes:
    uuid = UUID(int=seq)
    return encode_entry(
        Entry(
            *(shard, seq, shard, seq, uuid, Kind.DEPOSIT, Outcome.POSTED, 1, seq),
            *(MOMENT, MOMENT, MOMENT),
        )
    )


def test_sealer_that_lost_a_race_stands_by_while_another_seals() -> None:
    clock = Clock()
    turn = SealerStandby(clock)
    assert turn.should_seal({1: 5})
    turn.go_on_standby()
    for seq in range(5, 15):
        assert not turn.should_seal({1: seq, 2: 7})
        clock.now += TAKE_OVER_SECONDS * 0.9
    assert not turn.should_seal({2: 7})
    clock.now += TAKE_OVER_SECONDS * 0.9
    assert not turn.should_seal({2: 7, 3: 1})
    clock.now += TAKE_OVER_SECONDS * 0.2
    assert turn.should_seal({2: 7, 3: 1})
    assert turn.should_seal({2: 7})


def test_standby_sealer_leaves_new_entries_to_the_active_one_briefly() -> None:
    clock = Clock()
    turn = SealerStandby(clock)
    turn.go_on_standby()
    clock.now += 100 * TAKE_OVER_SECONDS
    assert not turn.should_seal({1: 5})
    clock.now += TAKE_OVER_SECONDS
    assert turn.should_seal({1: 5})


@pytest.mark.parametrize(
    ("seconds", "tired", "waited", "posting", "rest"),
    [
        (0.02, 0, 0, False, 0),
        (0.02, 0, 0, True, 0),
        (0.02, 0.05, 0, True, 0.05),
        (0.02, 1, 0, False, 0.02 * STEP_BACK),
        (0.02, 1, 0, True, 0.02 * PAUSE_FACTOR_POSTING),
        (10, 1, 0, True, UNSEALED_SECONDS_MAX),
        (10, 1, 0.25, True, UNSEALED_SECONDS_MAX - 0.25),
        (0.02, 1, UNSEALED_SECONDS_MAX, True, 0),
        (0.02, 1, 5, True, 0),
        (0.02, 1, BACKLOG_SECONDS, True, 0.02 * PAUSE_FACTOR_POSTING),
        (10, 1, BACKLOG_SECONDS, True, SEAL_SECONDS),
    ],
)
def test_sealer_pauses_for_cpu_wait_but_bounds_the_age_of_entries(
    seconds: float, tired: float, waited: float, posting: bool, rest: float
) -> None:
    assert compute_backlog_pause_seconds(seconds, tired, waited, is_posting=posting) == rest


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
def test_entry_that_missed_a_pass_is_sealed_soon_however_long_passes_take(
    seconds: float, entries: int, rest: float
) -> None:
    assert compute_pause_seconds(seconds, entries) == pytest.approx(rest)


def test_statement_limit_matches_the_constant() -> None:
    for distributed in (False, True):
        assert f"< {ENTRIES_MAX}\n" in load_statement(
            "seals/unsealed_entries", distributed=distributed
        )


def test_only_entries_after_the_last_seal_are_sealed() -> None:
    last = LastSeal(3, b"\x01" * 32)
    some = [make_entry_bytes(5, seq) for seq in (4, 5, 6)]
    seal = build_seal(5, last, some)
    assert seal is not None
    assert (seal.shard, seal.first_seq, seal.last_seq, seal.previous) == (5, 4, 6, last.hash)
    assert build_seal(5, last, [*some, make_entry_bytes(5, 8)]) == seal
    assert build_seal(5, last, some[1:]) is None
    assert build_seal(5, last, []) is None
    assert build_seal(5, LastSeal(0, FIRST_PREVIOUS), some) is None


def test_copied_entries_are_split_by_shard() -> None:
    some = {2: [make_entry_bytes(2, 1), make_entry_bytes(2, 2)], 63: [make_entry_bytes(63, 9)]}
    body = b"".join(entry for each in some.values() for entry in each)
    assert split_by_shard(HEADER + body + TRAILER) == some
    assert split_by_shard(HEADER + TRAILER) == {}
    for wrong in (b"", HEADER, body, HEADER + body, HEADER + body[1:] + TRAILER, body + TRAILER):
        with pytest.raises(RejectedError):
            split_by_shard(wrong)
