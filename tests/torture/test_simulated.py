"""Simulated histories: valid ones pass, however clients and answers behave, and a corruption is found."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.torture.corruptions import CORRUPTIONS, Corruption
from tests.torture.simulation import simulate
from torture.checker import FindingKind, check
from torture.history import Evidence

CORRUPTIONS_WANTED = 40
"""Number of corrupted histories that the test checks for each kind of corruption."""


@given(st.randoms(use_true_random=False), st.integers(1, 3), st.integers(1, 6), st.integers(1, 20))
@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_valid_history_has_no_fault(random: Random, users: int, clients: int, calls: int) -> None:
    evidence = simulate(random, users=users, clients=clients, calls=calls)

    assert check(evidence).faults == []


@pytest.mark.parametrize(
    ("corruption", "kind"), CORRUPTIONS.items(), ids=lambda value: getattr(value, "__name__", None)
)
def test_corruption_is_found(corruption: Corruption, kind: FindingKind) -> None:
    for corrupted in _corrupted_histories(corruption):
        kinds = {fault.kind for fault in check(corrupted).faults}

        assert kind in kinds


def test_simulation_contains_every_kind_of_answer() -> None:
    seen = {
        (operation.status, (operation.body or {}).get("code"), operation.replayed)
        for seed in range(60)
        for operation in simulate(Random(seed), clients=5, calls=12).operations
    }
    codes = {code for _, code, _ in seen}

    assert {None, "posted", "insufficient_funds", "balance_above_maximum", "uuid_conflict"} <= codes
    assert {"timestamp_in_future", "timestamp_too_late", "late_check_too_long"} <= codes
    assert {"outcome_unknown", "transaction_not_found"} <= codes
    assert {(None, None, False), (200, None, True), (402, "insufficient_funds", True)} <= seen


def _corrupted_histories(corruption: Corruption) -> Iterator[Evidence]:
    """Yield histories with one corruption each.

    They are not made by Hypothesis, which gives up where a corruption is rarely possible.
    """
    found = 0
    for seed in range(1000):
        random = Random(seed)
        evidence = simulate(random, users=1 + seed % 3, clients=1 + seed % 5, calls=4 + seed % 7)
        corrupted = corruption(evidence, random)
        if corrupted is not None:
            found += 1
            yield corrupted
        if found == CORRUPTIONS_WANTED:
            return
    raise AssertionError(f"{corruption.__name__} found a place {found} times only")
