"""Balances at moments, compared with sums over all entries."""

from __future__ import annotations

from datetime import datetime
from decimal import Decimal

from hypothesis import given
from hypothesis import strategies as st

from tests.torture.histories import transaction
from torture.checker.entry import Entry, read_entry
from torture.checker.timeline import Balances, Timeline
from torture.history import KindName

SECONDS = st.integers(0, 9)


@st.composite
def logs(draw: st.DrawFn) -> list[Entry]:
    entries = []
    for number in range(1, draw(st.integers(0, 20)) + 1):
        kind: KindName = draw(st.sampled_from(("DEPOSIT", "WITHDRAW")))
        outcome = draw(st.sampled_from(("posted", "posted", "insufficient_funds")))
        time, amount = f"12:00:0{draw(SECONDS)}", f"{draw(st.integers(1, 99))}.01"
        fields = transaction(number, kind, amount, "0.00", time=time, outcome=outcome)
        entries.append(read_entry(fields))
    return entries


@given(logs(), SECONDS, st.data())
def test_balance_at_a_date_is_the_sum_of_posted_entries(
    log: list[Entry], second: int, data: st.DataObject
) -> None:
    count, date = data.draw(st.integers(0, len(log))), _moment(second)
    expected = sum(entry.change for entry in log[:count] if entry.timestamp <= date)

    assert Timeline(log).balance(count, date) == expected


@given(logs())
def test_lowest_balance_is_the_minimum_over_all_moments(log: list[Entry]) -> None:
    moments = [entry.timestamp for entry in log]
    balances = Balances(moments)
    for count, entry in enumerate(log, 1):
        balances.add(entry.timestamp, entry.change)
        sums = {moment: _sum(log[:count], moment) for moment in moments}

        assert balances.lowest == min(sums.values())
        for moment in moments:
            later = [total for other, total in sums.items() if other >= moment]
            assert balances.lowest_from(moment) == min(later)


def _sum(log: list[Entry], date: datetime) -> Decimal:
    return sum((entry.change for entry in log if entry.timestamp <= date), Decimal(0))


def _moment(second: int) -> datetime:
    return datetime.fromisoformat(f"2023-10-30T12:00:0{second}+00:00")
