"""The pace of a relay, by what the kernel tells."""

from __future__ import annotations

from pathlib import Path

import pytest

from saldo.relay.pace import REST_FACTOR, REST_SECONDS_MAX, WAIT_SHARE, Pace


def test_a_relay_rests_for_what_it_had_to_wait_and_not_for_long(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("5000000 1000000000 7\n")
    now = 100.0
    pace = Pace(schedstat, lambda: now)
    now += 0.1
    assert pace.rest_seconds() == 0
    schedstat.write_text("9000000 1010000000 8\n")
    now += 0.1
    assert pace.rest_seconds() == pytest.approx(REST_FACTOR * (0.01 - WAIT_SHARE * 0.1))
    now += 0.1
    assert pace.rest_seconds() == 0
    schedstat.write_text("9000000 99010000000 8\n")
    now += 0.1
    assert pace.rest_seconds() == REST_SECONDS_MAX


def test_a_little_waiting_is_no_reason_to_rest(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("0 0 0\n")
    now = 0.0
    pace = Pace(schedstat, lambda: now)
    now = 1.0
    schedstat.write_text(f"0 {int(WAIT_SHARE * 0.9e9)} 0\n")
    assert pace.rest_seconds() == 0


@pytest.mark.parametrize("text", [None, "", "what"])
def test_where_the_kernel_tells_nothing_it_never_rests(tmp_path: Path, text: str | None) -> None:
    schedstat = tmp_path / "schedstat"
    if text is not None:
        schedstat.write_text(text)
    assert Pace(schedstat).rest_seconds() == 0
