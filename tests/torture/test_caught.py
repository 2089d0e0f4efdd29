"""Trials of the suite: it finds each planted bug with the right fault, and nothing where no bug is planted."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.torture.histories import right
from torture.checker import FindingKind
from torture.faults.all import KINDS
from torture.mutants import NAMES
from torture.report import PAGE
from torture.rounds import exclude_users
from torture.trial import NO_MUTANT
from torture.verdict import Verdict, table

ROOT = Path(__file__).parents[2]

MUTANTS_IN_EVERY_RUN = {"acknowledges_before_commit", "forgets_uuid_check"}
"""The bugs that every run plants: one that a killed service reveals, and one that needs no fault."""

SECONDS_MAX = 90
"""Time limit of the rounds, in seconds; one or two rounds of five seconds each are nearly always enough."""


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
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name in MUTANTS_IN_EVERY_RUN else [pytest.mark.long])
        for name in sorted(NAMES)
    ],
)
def test_mutant_is_caught_as_expected(name: str, tmp_path: Path) -> None:
    done = torture(name, tmp_path)
    assert done.returncode == 0, done.stdout
    caught = re.search(rf"caught: {name} as (.*)", done.stdout)
    assert caught, done.stdout
    assert any(f'"{kind}"' in caught[1] for kind in NAMES[name].caught_as), done.stdout


@pytest.mark.long
@pytest.mark.timeout(200)
def test_service_without_a_mutant_has_no_faults(tmp_path: Path) -> None:
    done = torture(NO_MUTANT, tmp_path)
    assert done.returncode == 0, done.stdout
    assert f"not accused: {NO_MUTANT} as nothing\n" in done.stdout
    for fault in ("service killed", "postgresql killed", "relay killed"):
        assert fault in done.stdout


def test_mutants_name_known_kinds_of_faults() -> None:
    for mutant in NAMES.values():
        assert mutant.caught_as
        assert {*mutant.caught_as} <= {*FindingKind}
        assert {*mutant.provoked_by} <= KINDS.keys()


def test_page_has_a_line_for_each_mutant() -> None:
    rows = dict(re.findall(r"^\| `(\w+)` \|.*\| ([^|]*) \|$", PAGE.read_text(), re.MULTILINE))
    assert rows == {name: ", ".join(mutant.caught_as) for name, mutant in NAMES.items()}


def test_broken_suite_does_not_count_as_caught() -> None:
    broken = verdict((FindingKind.LOST,), tried=False, broken="the suite broke: OSError()")
    assert not broken.right
    assert str(broken) == "not tried: one as nothing; the suite broke: OSError()"


def test_unexpected_fault_does_not_count_as_caught() -> None:
    other = verdict((FindingKind.LOST,), FindingKind.MALFORMED)
    assert not other.right
    assert str(other) == 'not caught: one as "malformed"'


def test_verdict_names_expected_faults_first() -> None:
    caught = verdict((FindingKind.LOST,), FindingKind.ANSWERS_DIFFER, FindingKind.LOST)
    assert caught.right
    assert str(caught) == 'caught: one as "lost", "answers differ"'


def test_without_a_mutant_any_fault_or_failure_is_wrong() -> None:
    assert verdict(()).right
    assert not verdict((), FindingKind.LOST).right
    assert not verdict((), broken="user 1: no answer").right
    assert not verdict((), tried=False).right


def test_table_has_a_row_for_each_verdict() -> None:
    lines = table(
        [verdict((FindingKind.LOST,), FindingKind.LOST), verdict((FindingKind.LOST,))]
    ).splitlines()
    assert lines == [
        "planted  found                         seconds",
        'one      "lost"   as it should be      12',
        "one      nothing  NOT AS IT SHOULD BE  12",
    ]


def test_unreadable_user_causes_no_findings() -> None:
    evidence = right().evidence()
    (user_id,) = {account.user_id for account in evidence.accounts}
    assert exclude_users(evidence, []) == evidence
    rest = exclude_users(evidence, [user_id])
    assert (rest.operations, rest.accounts, rest.deliveries) == ([], [], [])


def verdict(
    expected: tuple[FindingKind, ...], *found: FindingKind, tried: bool = True, broken: str = ""
) -> Verdict:
    """Return a verdict about a bug with the name "one"."""
    return Verdict("one", expected, frozenset(found), (broken,) if broken else (), tried, 12.3)
