"""The order of test files, which saves the minutes at the end of a run."""

from __future__ import annotations

from pathlib import Path

from tests.order import COSTLY_FILES, place_of

ROOT = Path(__file__).parents[3]


def test_costly_files_exist_and_are_named_once() -> None:
    assert [name for name in COSTLY_FILES if not (ROOT / name).is_file()] == []
    assert len(set(COSTLY_FILES)) == len(COSTLY_FILES)


def test_slow_files_come_first_and_the_others_keep_their_order() -> None:
    first, second = COSTLY_FILES[:2]
    names = ["tests/unit/test_b.py::test_1", f"{second}::test_1", f"{first}::test_2[a::b]"]
    names += [f"{first}::test_1", "tests/unit/test_a.py::test_1"]
    assert sorted(names, key=place_of) == [
        f"{first}::test_2[a::b]",
        f"{first}::test_1",
        f"{second}::test_1",
        "tests/unit/test_b.py::test_1",
        "tests/unit/test_a.py::test_1",
    ]
