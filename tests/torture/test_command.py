"""`python -m torture.checker`: evidence in files, its output, faults, exit codes."""

from __future__ import annotations

from pathlib import Path
from random import Random

import msgspec
import pytest

from tests.torture.histories import B, right
from tests.torture.simulation import simulate
from torture.checker.__main__ import main
from torture.history import ACCOUNTS, CONSUMERS, DELIVERIES, OPERATIONS, Evidence, Recorder, load


def test_valid_evidence_has_no_fault(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write(right().evidence(), tmp_path)

    assert main([str(tmp_path)]) == 0

    said = capsys.readouterr().out.splitlines()
    assert "users: 1" in said
    assert "operations: 9" in said
    assert "without an answer: 1" in said
    assert "transactions recorded: 4" in said
    assert "deliveries: 5" in said
    assert said[-1] == "faults: 0"


def test_faults_are_printed_one_per_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    history = right()
    history.drop(B)
    write(history.evidence(), tmp_path)

    assert main([str(tmp_path)]) == 1

    said = capsys.readouterr().out.splitlines()
    assert said[-1] == "faults: 1"
    assert said[-2].startswith("transaction of nothing: user 7: number 2, ")


def test_missing_evidence_is_an_error(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2

    assert "can't be read" in capsys.readouterr().err


def test_truncated_evidence_is_not_checked(tmp_path: Path) -> None:
    write(right().evidence(), tmp_path)
    operations = tmp_path / OPERATIONS
    operations.write_bytes(operations.read_bytes()[:-20])

    assert main([str(tmp_path)]) == 2


def test_evidence_survives_writing_and_loading(tmp_path: Path) -> None:
    evidence = simulate(Random(1), clients=5, calls=20)
    write(evidence, tmp_path)

    assert load(tmp_path) == evidence


def write(evidence: Evidence, directory: Path) -> None:
    """Write the files of evidence as a run does."""
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
