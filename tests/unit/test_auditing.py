"""How long the audit in the background rests."""

from __future__ import annotations

import pytest

from saldo.relay.auditing import REST_FACTOR, STEP_BACK_POSTING, rest_seconds


@pytest.mark.parametrize(
    ("due", "took", "posting", "rest"),
    [
        # A quick machine goes at the named pace, and much slower beside somebody who posts.
        (1.0, 0.1, False, 0.9),
        (1.0, 0.1, True, STEP_BACK_POSTING - 0.1),
        # On a slow one it never takes more than its share.
        (1.0, 0.5, False, 0.5 * REST_FACTOR),
        (1.0, 2.0, True, 2.0 * REST_FACTOR),
        (0.0, 0.1, False, 0.1 * REST_FACTOR),
    ],
)
def test_it_keeps_the_named_pace_and_to_its_share_of_a_processor(
    due: float, took: float, posting: bool, rest: float
) -> None:
    assert rest_seconds(due, took, posting=posting) == pytest.approx(rest)
