"""`python -m torture.checker`: evidence in files, what was checked, faults, exit codes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest
from torture.checker.__main__ import main
from torture.history import ACCOUNTS, CONSUMERS, DELIVERIES, OPERATIONS, Evidence, Recorder, load

from tests.torture.histories import B, right
from tests.torture.simulation import simulate


def test_right_evidence_has_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(right().evidence(), tmp_path)

    assert main([str(tmp_path)]) == 0

    said = capsys.readouterr().out.splitlines()
    assert "users: 1" in said
    assert "operations: 9" in said
    assert "without an answer: 1" in said
    assert "transactions recorded: 4" in said
    assert "deliveries: 5" in said
    assert said[-1] == "faults: 0"


def test_faults_are_told_one_a_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    history = right()
    history.drop(B)
    write(history.evidence(), tmp_path)

    assert main([str(tmp_path)]) == 1

    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "faults: 1"
    assert said[-2].startswith("transaction of nothing: user 7: number 2, ")


def test_without_evidence_nothing_is_said_to_be_right(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path)]) == 2

    assert "can't be read" in capsys.readouterr().err


def test_evidence_that_is_broken_off_is_not_checked(tmp_path: Path) -> None:
    write(right().evidence(), tmp_path)
    operations = tmp_path / OPERATIONS
    operations.write_bytes(operations.read_bytes()[:-20])

    assert main([str(tmp_path)]) == 2


def test_evidence_comes_back_from_its_files_as_it_was(tmp_path: Path) -> None:
    evidence = simulate(Random(1), clients=5, calls=20)
    write(evidence, tmp_path)

    assert load(tmp_path) == evidence


def write(evidence: Evidence, directory: Path) -> None:
    """Leaves evidence as a run does."""
    for name, items in (
        (OPERATIONS, evidence.operations),
        (ACCOUNTS, evidence.accounts),
        (DELIVERIES, evidence.deliveries),
    ):
        with (directory / name).open("wb") as file:
            recorder = Recorder(file)
            for item in items:
                recorder.add(item)
    (directory / CONSUMERS).write_bytes(msgspec.json.encode(evidence.consumers))
