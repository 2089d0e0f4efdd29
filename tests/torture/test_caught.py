"""The suite catches each planted bug by its name, and accuses nobody where none is planted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from torture.checker import Kind
from torture.faults.all import KINDS
from torture.mutants import NAMES
from torture.report import PAGE
from torture.rounds import without
from torture.trial import NOTHING
from torture.verdict import Verdict, table

from tests.torture.histories import right

ROOT = Path(__file__).parents[2]

SECONDS_MAX = 90
"""Of rounds. One or two of them, of five seconds each, are nearly always enough."""


def torture(name: str, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [
            *(sys.executable, "-m", "torture", "--mutant", name),
            *("--seed", "caught", "--seconds", str(SECONDS_MAX), "--directory", str(directory)),
        ],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )


@pytest.mark.timeout(200)
@pytest.mark.parametrize("name", sorted(NAMES))
def test_it_is_caught_by_its_name(name: str, tmp_path: Path) -> None:
    done = torture(name, tmp_path)
    assert done.returncode == 0, done.stdout
    caught = re.search(rf"caught: {name} as (.*)", done.stdout)
    assert caught, done.stdout
    assert any(f'"{kind}"' in caught[1] for kind in NAMES[name].caught_as), done.stdout


@pytest.mark.timeout(200)
def test_without_one_nobody_is_accused(tmp_path: Path) -> None:
    done = torture(NOTHING, tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"not accused: {NOTHING} as nothing\n" in done.stdout
    for fault in ("service killed", "postgresql killed", "relay killed"):
        assert fault in done.stdout


def test_what_is_expected_of_a_bug_is_what_the_checker_and_the_nemesis_know() -> None:
    for mutant in NAMES.values():
        assert mutant.caught_as
        assert {*mutant.caught_as} <= {*Kind}
        assert {*mutant.provoked_by} <= KINDS.keys()


def test_the_page_has_a_line_for_each() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {name: ", ".join(mutant.caught_as) for name, mutant in NAMES.items()}


def test_a_suite_that_breaks_has_caught_nothing() -> None:
    broken = verdict((Kind.LOST,), tried=False, broken="the suite broke: OSError()")
    assert not broken.right
    assert str(broken) == "not tried: one as nothing; the suite broke: OSError()"


def test_another_fault_than_the_expected_is_no_catch() -> None:
    other = verdict((Kind.LOST,), Kind.MALFORMED)
    assert not other.right
    assert str(other) == 'not caught: one as "malformed"'


def test_a_catch_names_the_expected_first() -> None:
    caught = verdict((Kind.LOST,), Kind.ANSWERS_DIFFER, Kind.LOST)
    assert caught.right
    assert str(caught) == 'caught: one as "lost", "answers differ"'


def test_without_a_bug_any_fault_is_wrong_and_so_is_what_breaks() -> None:
    assert verdict(()).right
    assert not verdict((), Kind.LOST).right
    assert not verdict((), broken="user 1: no answer").right
    assert not verdict((), tried=False).right


def test_the_table_has_a_line_for_each() -> None:
    lines = table([verdict((Kind.LOST,), Kind.LOST), verdict((Kind.LOST,))]).splitlines()
    assert lines == [
        "planted  found                         seconds",
        'one      "lost"   as it should be      12',
        "one      nothing  NOT AS IT SHOULD BE  12",
    ]


def test_who_could_not_be_read_is_accused_of_nothing() -> None:
    evidence = right().evidence()
    (user_id,) = {account.user_id for account in evidence.accounts}
    assert without(evidence, []) == evidence
    rest = without(evidence, [user_id])
    assert (rest.operations, rest.accounts, rest.deliveries) == ([], [], [])


def verdict(
    expected: tuple[Kind, ...], *found: Kind, tried: bool = True, broken: str = ""
) -> Verdict:
    """Of a bug named one."""
    return Verdict("one", expected, frozenset(found), (broken,) if broken else (), tried, 12.3)
