"""How many entries are counted at a time."""

from __future__ import annotations

import pytest

from saldo.relay.counting import LOOK_SECONDS, PER_SHARD_MAX, PER_SHARD_MIN, next_per_shard


@pytest.mark.parametrize(
    ("per_shard", "seconds", "then"),
    [
        (PER_SHARD_MIN, LOOK_SECONDS, PER_SHARD_MIN),
        (PER_SHARD_MIN, LOOK_SECONDS / 10, PER_SHARD_MIN * 2),
        (PER_SHARD_MAX, LOOK_SECONDS / 10, PER_SHARD_MAX),
        (PER_SHARD_MAX, LOOK_SECONDS * 3, PER_SHARD_MAX // 2),
        (PER_SHARD_MIN, LOOK_SECONDS * 3, PER_SHARD_MIN),
    ],
)
def test_a_look_takes_about_as_long_whoever_has_the_entries(
    per_shard: int, seconds: float, then: int
) -> None:
    assert next_per_shard(per_shard, seconds) == then
