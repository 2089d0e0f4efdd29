"""`saldo export`: the whole ledger, in a file that can be imported again."""

from __future__ import annotations

import json
import os
import random
import signal
from collections import Counter
from collections.abc import Sequence
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace
from typing import cast
from uuid import UUID, uuid4

import httpx
import pytest

from harness.program.command import Program
from harness.program.service import run_service_process
from harness.transaction_files import deposits, read_csv, write_csv
from saldo.cli.commands import export
from saldo.cli.connection.service import ConnectedService
from saldo.cli.exit_codes import ExitCode
from saldo.cli.exporting.sources import COLUMNS, ExportFilter
from saldo.cli.file_formats import Format
from saldo.cli.signals import StopRequest

parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def user(saldo: Program) -> str:
    """Return a user with a deposit, an earlier late entry, and a refused withdrawal."""
    user_id = saldo.user(f"exported {uuid4()}")
    saldo("deposit", user_id, "10.50")
    saldo("deposit", user_id, "4", "--timestamp", "2026-01-31T12:00:00Z")
    saldo("withdraw", user_id, "99", code=ExitCode.REFUSED)
    return user_id


MOMENTS = [f"2026-{month:02}-15T00:00:00Z" for month in range(1, 11)]


def history(user_ids: Sequence[str], seed: int) -> list[dict[str, str]]:
    """Return 200 transactions of the first three users in random order of time; some will be refused."""
    draw = random.Random(seed)
    return [
        {
            "uuid": str(UUID(int=draw.getrandbits(128), version=4)),
            "type": draw.choice(("DEPOSIT", "WITHDRAW")),
            "amount": f"{draw.randrange(1, 3000) / 100:.2f}",
            "user_id": draw.choice(user_ids[:3]),
            "timestamp": f"2026-{draw.randrange(1, 11):02}-{draw.randrange(1, 29):02} {draw.randrange(24):02}:30Z",
        }
        for _ in range(200)
    ]


def balances(url: str, user_ids: Sequence[str]) -> dict[tuple[str, str | None], str]:
    """Return each user's balance now and at each of the moments."""
    with httpx.Client(base_url=url) as client:
        return {
            (user_id, moment): client.get(
                f"/v1/user/{user_id}/balance", params={} if moment is None else {"date": moment}
            ).json()["balance"]
            for user_id in user_ids
            for moment in (None, *MOMENTS)
        }


def test_export_can_be_imported_into_another_ledger(saldo: Program, tmp_path: Path) -> None:
    """Import the export of each format into another ledger: after the first one there must only be replays."""
    url = saldo.environment["SALDO_URL"]
    users = [saldo.user(f"moved {uuid4()}") for _ in range(4)]
    answer = httpx.post(f"{url}/v1/transactions", json=history(users, random.randrange(10**9)))
    statuses = Counter(each["status"] for each in answer.json())
    assert set(statuses) == {200, 402}
    files = [tmp_path / f"all.{ending}" for ending in ("parquet", "csv", "ndjson")]
    for file in files:
        saldo("export", str(file))
    rows = read_csv(files[1])
    assert len([row for row in rows if row["user_id"] in users]) == 200
    posted = sum(row["outcome"] == "posted" for row in rows)
    with run_service_process(tmp_path) as elsewhere:
        other = Program(SALDO_URL=elsewhere.url)
        with httpx.Client(base_url=elsewhere.url) as client:
            last = 0
            while last < int(users[-1]):
                last = client.post("/v1/user", json={"name": str(uuid4())}).json()["id"]
        for turn, file in enumerate((*files, files[0])):
            found = other("import", str(file), "--json", code=ExitCode.REFUSED).json
            assert found["posted"] == (posted if turn == 0 else 0)
            assert found["replayed"] == (0 if turn == 0 else posted)
            assert found["invalid"] == len(rows) - posted
        put_aside = read_csv(tmp_path / "all.csv.rejected.csv")
        assert {row["reason"] for row in put_aside} == {
            "was refused by the ledger that exported it: insufficient_funds"
        }
        assert balances(elsewhere.url, users) == balances(url, users)
        assert "the ledger is intact" in other("verify", directory=tmp_path).output


def test_export_has_all_columns_and_refused_transactions(
    saldo: Program, user: str, tmp_path: Path
) -> None:
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
    assert saldo("import", str(table), code=ExitCode.REFUSED).output.startswith(
        "3 rows: 0 posted, 2 already posted before, 0 refused, 1 invalid"
    )


def test_some_of_them(saldo: Program, user: str) -> None:
    def amounts(*options: str) -> list[str]:
        ended = saldo("export", "-", "--user", user, "--columns", "amount", *options)
        return ended.output.splitlines()

    assert amounts() == ["amount", "10.50", "4.00", "99.00"]
    assert amounts("--posted", "--to", "2026-02-01") == ["amount", "4.00"]
    assert amounts("--posted", "--from", "2026-02-01") == ["amount", "10.50"]
    assert amounts("--recorded-to", "2026-02-01") == ["amount"]


def test_existing_file_is_not_overwritten(saldo: Program, user: str, tmp_path: Path) -> None:
    file = tmp_path / "all.csv"
    file.write_text("mine")
    ended = saldo("export", str(file), "--user", user, code=ExitCode.USAGE)
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
        (("a.csv", "--from", "2026-01-31", "--to", "2026-01-31"), "--from must be before --to"),
        (
            ("a.csv", "--recorded-from", "2026-02-01", "--recorded-to", "2026-01-01"),
            "--recorded-from must be before --recorded-to",
        ),
        (("no/a.csv",), "the directory no does not exist"),
        (("-", "--format", "parquet"), "stdout"),
    ],
)
def test_unwritable_file_is_a_usage_error(
    saldo: Program, arguments: tuple[str, ...], named: str
) -> None:
    ended = saldo("export", *arguments, code=ExitCode.USAGE)
    assert named in ended.errors.splitlines()[-1]


def test_interrupted_export_resumes(saldo: Program, tmp_path: Path) -> None:
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
    assert exporting.returncode == ExitCode.INTERRUPTED, errors
    assert not file.exists()
    ended = saldo("export", str(file))
    assert "continuing the interrupted export after" in ended.errors
    found = [row["uuid"] for row in read_csv(file) if row["user_id"] in users]
    assert len(found) == len(lines)
    assert set(found) == {line[0] for line in lines}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["many.csv", "out.csv"]


def test_posts_during_an_export_leave_no_gap(saldo: Program, tmp_path: Path) -> None:
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


def test_bytes_are_on_the_disk_before_the_state_counts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    monkeypatch.setattr(os, "fsync", lambda _: calls.append("fsync"))
    monkeypatch.setattr(export, "write_state", lambda *_: calls.append("state"))
    file = tmp_path / "a.csv"
    run = export.ExportRun(
        file,
        Format.CSV,
        COLUMNS,
        None,
        ExportFilter(False, None, None, None, None),
        cast("ConnectedService", SimpleNamespace(name="a")),
        StopRequest(),
    )
    with run._open_part_file() as part:
        part.write(b"row\n")
        run._save_state(part)
        assert (tmp_path / "a.csv.part").read_bytes().endswith(b"row\n")
    assert calls == ["fsync", "state"]
