"""The throttle of a relay, by the CPU times that the kernel reports."""

from __future__ import annotations

from pathlib import Path

import pytest

from saldo.background.throttle import REST_FACTOR, REST_SECONDS_MAX, WAIT_SHARE, CpuThrottle


def test_throttle_pauses_for_the_cpu_wait_up_to_a_maximum(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("5000000 1000000000 7\n")
    now = 100.0
    pace = CpuThrottle(schedstat, lambda: now)
    now += 0.1
    assert pace.compute_pause_seconds() == 0
    schedstat.write_text("9000000 1010000000 8\n")
    now += 0.1
    assert pace.compute_pause_seconds() == pytest.approx(REST_FACTOR * (0.01 - WAIT_SHARE * 0.1))
    now += 0.1
    assert pace.compute_pause_seconds() == 0
    schedstat.write_text("9000000 99010000000 8\n")
    now += 0.1
    assert pace.compute_pause_seconds() == REST_SECONDS_MAX


def test_short_cpu_wait_causes_no_pause(tmp_path: Path) -> None:
    schedstat = tmp_path / "schedstat"
    schedstat.write_text("0 0 0\n")
    now = 0.0
    pace = CpuThrottle(schedstat, lambda: now)
    now = 1.0
    schedstat.write_text(f"0 {int(WAIT_SHARE * 0.9e9)} 0\n")
    assert pace.compute_pause_seconds() == 0


@pytest.mark.parametrize("text", [None, "", "what"])
def test_throttle_never_pauses_without_kernel_statistics(tmp_path: Path, text: str | None) -> None:
    schedstat = tmp_path / "schedstat"
    if text is not None:
        schedstat.write_text(text)
    assert CpuThrottle(schedstat).compute_pause_seconds() == 0
