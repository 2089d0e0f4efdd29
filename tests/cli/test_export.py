"""`saldo export`: all there is, in a file that can be imported again."""

from __future__ import annotations

import json
import random
import signal
from decimal import Decimal
from pathlib import Path
from uuid import uuid4

import pytest

from saldo.cli.exits import Exit
from tests.acceptance.service import service
from tests.cli.files import COLUMNS, deposits, read_csv, write_csv
from tests.cli.program import Program

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def user(saldo: Program) -> str:
    """Has a deposit, one that took effect earlier, and a withdrawal that was refused."""
    user_id = saldo.user(f"exported {uuid4()}")
    saldo("deposit", user_id, "10.50")
    saldo("deposit", user_id, "4", "--timestamp", "2026-01-31T12:00:00Z")
    saldo("withdraw", user_id, "99", code=Exit.REFUSED)
    return user_id


def test_what_is_exported_is_imported_elsewhere(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    found = saldo("export", str(file), "--posted", "--columns", ",".join(COLUMNS), "--json").json
    assert found["rows"] == len(read_csv(file)) >= 2
    users = {int(row["user_id"]) for row in read_csv(file)}
    with service(tmp_path) as elsewhere:
        other = Program(SALDO_URL=elsewhere.url)
        while int(other.user(f"user {uuid4()}")) < max(users):
            pass
        imported = other("import", str(file), "--json").json
        assert imported["posted"] == found["rows"]
        for each in users:
            assert other.balance(str(each)) == saldo.balance(str(each))


def test_all_columns_and_refused_ones(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    saldo("export", str(file))
    rows = [row for row in read_csv(file) if row["user_id"] == user]
    assert [(row["number"], row["amount"], row["balance"], row["outcome"]) for row in rows] == [
        ("1", "10.50", "10.50", "posted"),
        ("2", "4.00", "14.50", "posted"),
        ("3", "99.00", "14.50", "insufficient_funds"),
    ]
    listed = saldo("transactions", user, "--json").lines[::-1]
    assert [{**row, "user_id": int(user), "number": int(row["number"])} for row in rows] == listed


def test_other_formats(saldo: Program, user: str, tmp_path: Path) -> None:
    lines, table = tmp_path / "all.ndjson", tmp_path / "all.parquet"
    saldo("export", str(lines), "--user", user)
    found = [json.loads(line) for line in lines.read_text().splitlines()]
    assert [each["amount"] for each in found] == ["10.50", "4.00", "99.00"]
    saldo("export", str(table), "--user", user)
    read = parquet.read_table(table).to_pylist()
    assert [each["amount"] for each in read] == [
        Decimal("10.50"),
        Decimal("4.00"),
        Decimal("99.00"),
    ]
    assert [each["timestamp"].isoformat() for each in read] == [each["timestamp"] for each in found]
    assert saldo("import", str(table), code=Exit.REFUSED).output.startswith(
        "3 rows: 0 posted, 2 posted before, 0 refused, 1 bad"
    )


def test_some_of_them(saldo: Program, user: str) -> None:
    def amounts(*options: str) -> list[str]:
        ended = saldo("export", "-", "--user", user, "--columns", "amount", *options)
        return ended.output.splitlines()

    assert amounts() == ["amount", "10.50", "4.00", "99.00"]
    assert amounts("--posted", "--to", "2026-02-01") == ["amount", "4.00"]
    assert amounts("--posted", "--from", "2026-02-01") == ["amount", "10.50"]
    assert amounts("--recorded-to", "2026-02-01") == ["amount"]


def test_a_file_that_is_there_is_kept(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("mine")
    ended = saldo("export", str(file), "--user", user, code=Exit.USAGE)
    assert "--overwrite" in ended.errors
    assert file.read_text() == "mine"
    saldo("export", str(file), "--user", user, "--overwrite")
    assert len(read_csv(file)) == 3


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (("what.txt",), "--format"),
        (("a.csv", "--columns", "amount,sum"), "--columns"),
        (("a.csv", "--from", "x"), "--from"),
        (("a.csv", "--from", "2026-02-01", "--to", "2026-01-01"), "--from must be before --to"),
        (
            ("a.csv", "--recorded-from", "2026-02-01", "--recorded-to", "2026-01-01"),
            "--recorded-from must be before --recorded-to",
        ),
        (("no/a.csv",), "there is no directory no"),
        (("-", "--format", "parquet"), "stdout"),
    ],
)
def test_what_can_not_be_written(saldo: Program, arguments: tuple[str, ...], named: str) -> None:
    ended = saldo("export", *arguments, code=Exit.USAGE)
    assert named in ended.errors.splitlines()[-1]


def test_interrupted_it_goes_on(saldo: Program, tmp_path: Path) -> None:
    users = [saldo.user(f"many {uuid4()}") for _ in range(20)]
    lines = deposits(20_000, users, seed=random.randrange(10**9))
    saldo("import", str(write_csv(tmp_path / "many.csv", lines)))
    file = tmp_path / "out.csv"
    exporting = saldo.start("export", str(file))
    part = tmp_path / "out.csv.part"
    while not (part.exists() and part.stat().st_size > 100_000):
        assert exporting.poll() is None, exporting.communicate()
    exporting.send_signal(signal.SIGINT)
    _, errors = exporting.communicate(timeout=60)
    assert exporting.returncode == Exit.INTERRUPTED, errors
    assert not file.exists()
    ended = saldo("export", str(file))
    assert "going on after" in ended.errors
    found = [row["uuid"] for row in read_csv(file) if row["user_id"] in users]
    assert len(found) == len(lines)
    assert set(found) == {line[0] for line in lines}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "out.csv"]


def test_what_is_posted_meanwhile_leaves_no_hole(saldo: Program, tmp_path: Path) -> None:
    users = [saldo.user(f"busy {uuid4()}") for _ in range(20)]
    before = deposits(20_000, users, seed=random.randrange(10**9))
    saldo("import", str(write_csv(tmp_path / "before.csv", before)))
    meanwhile = deposits(20_000, users, seed=random.randrange(10**9))
    posting = saldo.start("import", str(write_csv(tmp_path / "meanwhile.csv", meanwhile)))
    file = tmp_path / "out.csv"
    saldo("export", str(file))
    _, errors = posting.communicate(timeout=120)
    assert posting.returncode == 0, errors
    found = [row for row in read_csv(file) if row["user_id"] in users]
    assert {row["uuid"] for row in found} >= {line[0] for line in before}
    assert len({row["uuid"] for row in found}) == len(found)
    for user in users:
        rows = [row for row in found if row["user_id"] == user]
        assert [int(row["number"]) for row in rows] == list(range(1, len(rows) + 1))
        assert Decimal(rows[-1]["balance"]) == sum(Decimal(row["amount"]) for row in rows)
