"""Pauses of the background audit."""

from __future__ import annotations

import pytest

from saldo.background.audit_worker import (
    PAUSE_FACTOR,
    POSTING_SLOWDOWN_FACTOR,
    compute_pause_seconds,
)


@pytest.mark.parametrize(
    ("due", "took", "posting", "rest"),
    [
        # A fast machine runs at the configured rate, and much slower while clients post.
        (1.0, 0.1, False, 0.9),
        (1.0, 0.1, True, POSTING_SLOWDOWN_FACTOR - 0.1),
        # A slow machine never uses more than its share.
        (1.0, 0.5, False, 0.5 * PAUSE_FACTOR),
        (1.0, 2.0, True, 2.0 * PAUSE_FACTOR),
        (0.0, 0.1, False, 0.1 * PAUSE_FACTOR),
    ],
)
def test_audit_keeps_its_rate_and_its_share_of_a_processor(
    due: float, took: float, posting: bool, rest: float
) -> None:
    assert compute_pause_seconds(due, took, is_posting=posting) == pytest.approx(rest)
