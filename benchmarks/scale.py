"""The sizes of a run: short (minutes), full, or tiny (only a test that the benchmarks work)."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Scale:
    """The sizes of a run.

    Attributes:
        rounds, seconds: The number and length of the rounds of each load of single requests. Service and baseline take
            turns.
        variant_runs: The number of runs of each kind of stream that has no target.
        growth_lines, growth_steps: The number of lines by which a ledger grows in each step, and the number of steps.
            `grown_runs` further streams follow.
        history_entries: The number of entries of the user whose balance is read at random dates.
        overload_rate_max: The maximum rate of the search for the capacity, in requests per second.
    """

    name: str
    users: int
    rounds: int
    seconds: int
    connections: tuple[int, ...]
    processes: tuple[int, ...]
    bulk_lines: int
    bulk_runs: int
    variant_runs: int
    memory_lines: int
    growth_lines: int
    growth_steps: int
    grown_runs: int
    history_entries: int
    questions: int
    soak_seconds: int
    overload_rate_max: int


SHORT = Scale(
    name="short",
    users=100_000,
    rounds=3,
    seconds=3,
    connections=(1, 16, 64, 256),
    processes=(1, 2, 4, 8),
    bulk_lines=200_000,
    bulk_runs=3,
    variant_runs=3,
    memory_lines=400_000,
    growth_lines=100_000,
    growth_steps=4,
    grown_runs=1,
    history_entries=100_000,
    questions=200,
    soak_seconds=60,
    overload_rate_max=60_000,
)

FULL = Scale(
    name="full",
    users=100_000,
    rounds=5,
    seconds=5,
    connections=(1, 4, 16, 64, 128, 256),
    processes=(1, 2, 4, 8),
    bulk_lines=1_000_000,
    bulk_runs=5,
    variant_runs=3,
    memory_lines=2_000_000,
    growth_lines=1_000_000,
    growth_steps=10,
    grown_runs=3,
    history_entries=1_000_000,
    questions=1000,
    soak_seconds=600,
    overload_rate_max=60_000,
)

TINY = Scale(
    name="tiny",
    users=64,
    rounds=1,
    seconds=1,
    connections=(1, 4),
    processes=(1, 2),
    bulk_lines=2000,
    bulk_runs=1,
    variant_runs=1,
    memory_lines=2000,
    growth_lines=1000,
    growth_steps=2,
    grown_runs=1,
    history_entries=1000,
    questions=5,
    soak_seconds=5,
    overload_rate_max=2000,
)

SCALES = {scale.name: scale for scale in (SHORT, FULL, TINY)}
