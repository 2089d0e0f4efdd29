"""Number of entries that are counted into the totals at a time."""

from __future__ import annotations

import pytest

from saldo.background.totals_worker import (
    PASS_SECONDS_TARGET,
    PER_SHARD_MAX,
    PER_SHARD_MIN,
    adjust_entries_per_shard,
)


@pytest.mark.parametrize(
    ("per_shard", "seconds", "then"),
    [
        (PER_SHARD_MIN, PASS_SECONDS_TARGET, PER_SHARD_MIN),
        (PER_SHARD_MIN, PASS_SECONDS_TARGET / 10, PER_SHARD_MIN * 2),
        (PER_SHARD_MAX, PASS_SECONDS_TARGET / 10, PER_SHARD_MAX),
        (PER_SHARD_MAX, PASS_SECONDS_TARGET * 3, PER_SHARD_MAX // 2),
        (PER_SHARD_MIN, PASS_SECONDS_TARGET * 3, PER_SHARD_MIN),
    ],
)
def test_duration_of_a_pass_does_not_depend_on_the_distribution(
    per_shard: int, seconds: float, then: int
) -> None:
    assert adjust_entries_per_shard(per_shard, seconds) == then
