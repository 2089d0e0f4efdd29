"""`saldo import`: every row is posted once in all cases; rows that can't be posted are rejected with the reason."""

from __future__ import annotations

import csv
import io
import json
import os
import pty
import random
import signal
import subprocess
from collections.abc import Callable
from contextlib import suppress
from decimal import Decimal
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import pytest

from harness.program.command import Program
from harness.program.forks import COMMAND
from harness.program.service import run_service_process
from harness.transaction_files import COLUMNS, Line, deposits, read_csv, write_csv
from saldo.cli.commands.import_ import CHUNK_ROWS
from saldo.cli.exit_codes import CommandError, ExitCode
from saldo.cli.file_formats import Format
from saldo.cli.importing import row_readers
from saldo.cli.importing.dry_run import FAULTS_SHOWN_MAX
from saldo.cli.importing.duplicate_uuids import DuplicateFinder
from saldo.cli.importing.row_counts import ImportSummary, RowCounts
from saldo.cli.importing.row_readers import Row, UnreadableRowsError, open_row_file
from saldo.cli.state_file import hold_lock
from saldo.ledger.model import TransactionRequest

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def users(saldo: Program) -> list[str]:
    return [saldo.user(f"imported {uuid4()}") for _ in range(2)]


def total(lines: list[Line], user: str) -> Decimal:
    return sum((Decimal(line[2]) for line in lines if line[3] == user), Decimal(0))


def test_every_row_is_posted_once_and_repeated_imports_are_replays(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = deposits(50, users)
    file = write_csv(tmp_path / "transactions.csv", lines)
    found = saldo("import", str(file), "--json").json
    assert (found["rows"], found["posted"], found["replayed"]) == (50, 50, 0)
    assert Decimal(found["deposited"]) == total(lines, users[0]) + total(lines, users[1])
    assert found["rejected_file"] is None
    assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]
    again = saldo("import", str(file), "--json").json
    assert (again["rows"], again["posted"], again["replayed"]) == (50, 0, 50)
    # The sums cover only what this run has posted.
    assert Decimal(again["deposited"]) == Decimal(again["withdrawn"]) == 0
    assert sorted(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("kind", ["ndjson", "parquet", "tsv", "tab"])
def test_other_formats(saldo: Program, users: list[str], tmp_path: Path, kind: str) -> None:
    lines = deposits(20, users, seed=random.randrange(10**9))
    file = tmp_path / f"transactions.{kind}"
    rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
    options: tuple[str, ...] = ()
    if kind == "ndjson":
        objects = [row | {"user_id": int(row["user_id"]), "more": [1]} for row in rows]
        file.write_text("".join(f"{json.dumps(each)}\n\n" for each in objects))
    elif kind == "parquet":
        made = [
            row | {"user_id": int(row["user_id"]), "amount": Decimal(row["amount"])} for row in rows
        ]
        parquet.write_table(arrow.Table.from_pylist(made), file)
    else:
        file.write_text("\t".join(COLUMNS) + "\n" + "".join("\t".join(x) + "\n" for x in lines))
        options = ("--delimiter", r"\t", "--format", "csv") if kind == "tab" else ()
    found = saldo("import", str(file), "--json", *options).json
    assert (found["rows"], found["posted"]) == (20, 20)
    assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]


def test_bad_rows_are_rejected_and_the_rest_is_imported(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    good = deposits(3, users, seed=random.randrange(10**9))
    user = users[0]
    bad: list[tuple[list[str], str]] = [
        ([str(uuid4()), "WITHDRAW", "99999999", user, ""], "insufficient_funds"),
        (
            [str(uuid4()), "TRANSFER", "1", user, ""],
            "type is TRANSFER: expected deposit or withdraw",
        ),
        ([str(uuid4()), "DEPOSIT", "1.234", user, ""], "amount"),
        ([str(uuid4()), "DEPOSIT", "", user, ""], "amount is missing"),
        ([str(uuid4()), "DEPOSIT", "1", "999999999", ""], "999999999"),
        (["x", "DEPOSIT", "1", user, ""], "uuid must be a uuid"),
        ([str(uuid4()), "DEPOSIT", "1", user, "yesterday"], "timestamp"),
        ([str(uuid4()), "DEPOSIT", "1", user], "has 4 columns, but the header row has 5"),
        ([good[0][0], "DEPOSIT", "1", user, ""], "uuid"),
    ]
    lines = [list(good[0]), *(row for row, _ in bad), *map(list, good[1:])]
    file = write_csv(tmp_path / "mixed.csv", lines)
    found = saldo("import", str(file), "--json", code=ExitCode.REFUSED).json
    # A conflicting uuid records nothing; a withdrawal without sufficient funds is recorded as refused.
    assert (found["rows"], found["posted"], found["refused"], found["invalid"]) == (12, 3, 1, 8)
    rejected = read_csv(Path(found["rejected_file"]))
    assert [int(row["line"]) for row in rejected] == list(range(3, 12))
    for row, (values, reason) in zip(rejected, bad, strict=True):
        assert reason in row["reason"]
        assert [row[name] for name in COLUMNS][: len(values)] == values
    assert sum(map(saldo.balance, users)) == total(good, users[0]) + total(good, users[1])


@pytest.mark.parametrize(
    ("name", "separator", "options"),
    [("a.tsv", "\t", ()), ("a.csv", ";", ("--delimiter", ";")), ("a.csv", ",", ())],
)
def test_rejected_rows_can_be_imported_with_the_same_options(
    saldo: Program,
    users: list[str],
    tmp_path: Path,
    name: str,
    separator: str,
    options: tuple[str, ...],
) -> None:
    file = tmp_path / name
    rows = (("user_id", "amount"), (users[0], "5"), (users[0], "1.234"))
    file.write_text("".join(f"{separator.join(row)}\n" for row in rows))
    told = ("--signed", "--json", *options)
    command = ("import", str(file), "--id", f"a {uuid4()}", *told)
    first = Path(saldo(*command, code=ExitCode.REFUSED).json["rejected_file"])
    heading = ["line", "reason", "uuid", "user_id", "amount"]
    assert first.read_text().splitlines()[0] == separator.join(heading)
    second = Path(saldo("import", str(first), *told, code=ExitCode.REFUSED).json["rejected_file"])
    # The line number and the reason are those of the latest run.
    assert second.read_text().replace(f"\n2{separator}", f"\n3{separator}") == first.read_text()
    first.write_text(first.read_text().replace("1.234", "1.23"))
    assert saldo("import", str(first), *told).json["posted"] == 1


def test_dry_run_in_a_terminal_shows_some_faults_and_the_number_of_others(tmp_path: Path) -> None:
    bad = ("x", "DEPOSIT", "1", "1", "")
    file = write_csv(tmp_path / "bad.csv", [bad] * (FAULTS_SHOWN_MAX + 5))
    ours, theirs = pty.openpty()
    command = [*COMMAND, "import", str(file), "--dry-run"]
    with subprocess.Popen(
        command, env=Program().environment, stdout=subprocess.DEVNULL, stderr=theirs
    ):
        os.close(theirs)
        shown = b""
        # On Linux the end of the terminal's output is an error.
        with suppress(OSError):
            while data := os.read(ours, 65_536):
                shown += data
    os.close(ours)
    assert shown.count(b"uuid must be") == FAULTS_SHOWN_MAX
    assert b"and 5 more" in shown
    piped = Program()(*command[len(COMMAND) :], code=ExitCode.REFUSED).errors
    assert piped.count("uuid must be") == FAULTS_SHOWN_MAX + 5


def test_sums_have_the_same_decimals_in_text_and_json(capsys: pytest.CaptureFixture[str]) -> None:
    counts = RowCounts(rows=1, posted=1, deposited=Decimal("1234.50"))
    summary = ImportSummary(counts, 0, None, 1.0, None)
    summary.print(dry_run=False, as_json=False)
    summary.print(dry_run=False, as_json=True)
    text, document = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "deposits 1234.50, withdrawals 0.00" in text
    assert json.loads(document)["withdrawn"] == "0.00"


@pytest.mark.parametrize("kind", ["csv", "ndjson"])
def test_dry_run_reports_rows_with_the_same_uuid(
    saldo: Program, users: list[str], tmp_path: Path, kind: str
) -> None:
    user, uuid, other = users[0], str(uuid4()), str(uuid4())
    moment = "2026-01-10T12:00:00Z"
    lines: list[Line] = [
        (uuid, "DEPOSIT", "1.00", user, moment),
        (other, "DEPOSIT", "10", user, moment),
        (uuid, "DEPOSIT", "1.0", user, "2026-01-10T13:00:00+01:00"),
        (uuid, "DEPOSIT", "1.00", user, ""),
        (uuid, "DEPOSIT", "2.00", user, moment),
        (uuid, "WITHDRAW", "1.00", user, moment),
        (uuid, "DEPOSIT", "1.00", user, "2026-01-11T12:00:00Z"),
    ]
    file = tmp_path / f"twice.{kind}"
    if kind == "csv":
        write_csv(file, lines)
    else:
        rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
        # Each line begins with a byte order mark, which some editors put invisibly at the start of a file.
        text = "".join(
            f"\ufeff{json.dumps(row | {'timestamp': row['timestamp'] or None})}\n" for row in rows
        )
        file.write_text(text)
    checked = saldo("import", str(file), "--dry-run", "--json", code=ExitCode.REFUSED)
    assert checked.errors.count("which has another amount, user_id, type or timestamp") == 3
    real = saldo("import", str(file), "--json", code=ExitCode.REFUSED).json
    assert (real["posted"], real["replayed"], real["invalid"]) == (2, 2, 3)
    counts = ("replayed", "invalid", "deposited", "withdrawn")
    assert {name: checked.json[name] for name in counts} == {name: real[name] for name in counts}
    assert (checked.json["valid"], real["deposited"]) == (real["posted"], "11.00")


FOREIGN = (
    *("1.000", "25,000", "1.234,56", "1,234.56", "1\u00a0234.56", "1'000.00"),
    *("$40.00", "NGN 2300.50", "40.00 €"),
)
"""Amounts in other notations, none of which may be parsed as a different amount."""


def test_files_in_the_notations_of_banks_and_bookkeepers(saldo: Program, tmp_path: Path) -> None:
    """Import files with such amounts: what is unambiguous is posted, the rest is rejected or stops the import."""
    user = saldo.user(f"bookkeeper {uuid4()}")
    file = tmp_path / "bank.csv"

    def import_text(text: str, *options: str, code: ExitCode = ExitCode.REFUSED) -> Any:
        file.write_text(text)
        return saldo("import", str(file), "--id", f"{uuid4()}", *options, "--json", code=code).json

    # A byte order mark stands before the first column, which contains the time.
    row = f"2026-01-10T12:00:00Z,{uuid4()},DEPOSIT,1000.00,{user}"
    file.write_text(f"\ufefftimestamp,uuid,type,amount,user_id\n{row}\n")
    assert saldo("import", str(file), "--dry-run", "--json").json["valid"] == 1
    assert saldo("import", str(file), "--json").json["posted"] == 1
    assert (
        saldo("transactions", user, "--json").lines[0]["timestamp"] == "2026-01-10T12:00:00+00:00"
    )

    amounts = [*FOREIGN, "7.50"]
    text = "type;amount;user_id\n" + "".join(f"DEPOSIT;{each};{user}\n" for each in amounts)
    found = import_text(text, "--delimiter", ";")
    assert (found["posted"], found["deposited"], found["invalid"]) == (1, "7.50", 9)
    with Path(found["rejected_file"]).open(newline="") as rejected:
        reasons = [row["reason"] for row in csv.DictReader(rejected, delimiter=";")]
    assert all(reason.removeprefix("invalid: ").startswith("amount ") for reason in reasons)

    signed = ["(30.00)", "50.00-", "\u221220.00", "- 5.00", "+5.00", "-7.50", "--3.00"]
    text = "amount,user_id\n" + "".join(f"{each},{user}\n" for each in signed)
    found = import_text(text, "--signed")
    assert (found["posted"], found["invalid"]) == (2, 5)
    assert (found["deposited"], found["withdrawn"]) == ("5.00", "7.50")
    assert saldo.balance(user) == Decimal("1005.00")

    heading, row = "type;amount;user_id", f"DEPOSIT;1;{user}"
    for above in ("sep=;", '"Account";"DE00"\n"Owner";"A"\n"From";"x"\n"To";"y"\n'):
        file.write_text(f"{above}\n{heading}\n{row}\n")
        ended = saldo("import", str(file), "--delimiter", ";", "--id", "a", code=ExitCode.USAGE)
        assert above[:4].strip('"') in ended.errors and "delete" in ended.errors
    assert saldo.balance(user) == Decimal("1005.00")
    text = f"{heading};;;\n{row};;;\n{row};;;\n\n"  # equal rows are two
    assert import_text(text, "--delimiter", ";", code=ExitCode.DONE)["posted"] == 2


def test_duplicate_uuids_are_found_in_files_of_any_length() -> None:
    """Compare the detection in memory with that in files, for several times as many rows as fit into memory."""
    rows = [
        (TransactionRequest(UUID(int=place % 700 + 1), 1, place // 1400 + 1, None), place + 2)
        for place in range(2100)
    ]
    with DuplicateFinder() as all_in_memory, DuplicateFinder(memory_bytes_max=4096) as in_files:
        for row in rows:
            all_in_memory.add(*row)
            in_files.add(*row)
            assert sum(map(len, in_files._parts)) <= 4096
        found = list(all_in_memory.find())
        assert sorted(in_files.find()) == found
    assert [each.line for each in found] == list(range(702, 2102))
    assert [each.replayed for each in found] == [True] * 700 + [False] * 700


@pytest.mark.parametrize("dry_run", [True, False])
def test_aborted_import_prints_its_json_document(
    saldo: Program, users: list[str], tmp_path: Path, dry_run: bool
) -> None:
    file = tmp_path / "a.csv"
    file.write_text(f'user_id,amount,note\n{users[0]},1,a\n{users[0]},1,"\n')
    options = ("import", str(file), "--signed", "--id", f"a {uuid4()}", "--json")
    ended = saldo(*options, *(["--dry-run"] if dry_run else []), code=ExitCode.REFUSED)
    assert ended.json["rows"] == 1
    assert ended.json["valid" if dry_run else "posted"] == 1
    assert ended.json["stopped"] in ended.errors
    assert "a closing quotation mark may be missing" in ended.json["stopped"]


@pytest.mark.parametrize(
    ("content", "bad", "stopped"),
    [
        ("u,1,{long}\nu,1,b\n", 1, False),
        ('u,1,"{long}"\nu,1,b\n', 1, False),
        ("u,1,b\nu,1,{long}", 1, False),
        ('u,1,"{long}\nu,1,b\n', 0, True),
        ('u,1,"b\n{long}"\nu,1,b\n', 0, True),
        ('u,1,"b{lines}"\nu,1,b\n', 0, True),
    ],
)
def test_overlong_line_does_not_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, content: str, bad: int, stopped: bool
) -> None:
    monkeypatch.setattr(row_readers, "LINE_CHARACTERS_MAX", 1000)
    sizes: list[int] = []

    class Text(io.TextIOWrapper):
        def readline(self, size: int = -1, /) -> str:  # type: ignore[override]
            sizes.append(size)
            return super().readline(size)

    monkeypatch.setattr("saldo.cli.importing.row_readers.io.TextIOWrapper", Text)
    file = tmp_path / "a.csv"
    text = content.format(long="x" * 5000, lines="\nx" * 5000)
    file.write_text(f"user_id,amount,note\n{text}")
    rows: list[Row] = []
    with open_row_file(file, Format.CSV, ",", ()) as table:
        if stopped:
            with pytest.raises(UnreadableRowsError, match="more than"):
                rows.extend(table.rows)
        else:
            rows.extend(table.rows)
            assert len(rows) == 2
    assert [row.fault is not None for row in rows].count(True) == bad
    assert all(len(value or "") <= 5000 for row in rows for value in row.values)
    assert set(sizes) == {1000}
    file.write_text("x" * 5000)
    with pytest.raises(CommandError, match="header row"), open_row_file(file, Format.CSV, ",", ()):
        pass


def test_a_dry_run_posts_nothing_and_needs_no_service(tmp_path: Path) -> None:
    lines = [*deposits(5, ["1"]), (str(uuid4()), "DEPOSIT", "1.234", "1", "")]
    file = write_csv(tmp_path / "dry.csv", lines)
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    ended = nobody("import", str(file), "--dry-run", "--json", code=ExitCode.REFUSED)
    assert (ended.json["rows"], ended.json["valid"], ended.json["invalid"]) == (6, 5, 1)
    assert "line 7: " in ended.errors
    assert "amount" in ended.errors
    assert list(tmp_path.iterdir()) == [file]


def test_columns_are_mapped_and_uuids_derived(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "bank.csv"
    file.write_text(f"Account,Sum,Note\n{users[0]},10.00,a\n{users[0]},-4,b\n{users[1]},+3,c\n")
    command = ("import", str(file), "--signed", "--map", "user_id=Account", "--map", "amount=Sum")
    ended = saldo(*command, code=ExitCode.USAGE)
    assert "--id" in ended.errors
    name = f"bank {uuid4()}"
    assert saldo(*command, "--id", name, "--json").json["posted"] == 3
    assert [saldo.balance(user) for user in users] == [6, 3]
    assert saldo(*command, "--id", name, "--json").json["replayed"] == 3
    assert [saldo.balance(user) for user in users] == [6, 3]


def test_rejected_rows_keep_their_uuids_in_another_file(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    """Import the rejected rows, which must keep their uuids.

    A uuid derived from a row's new line number would repeat one that the first file already used.
    """
    file = tmp_path / "some.csv"
    file.write_text(
        f"Ref,type,amount,user_id\n,DEPOSIT,10,{users[0]}\n,DEPOSIT,1.234,{users[0]}\n"
        f"{uuid4()},DEPOSIT,1,{users[0]}\n,DEPOSIT\n"
    )
    options = ("--map", "uuid=Ref", "--id", f"some {uuid4()}", "--json")
    rejects = Path(
        saldo("import", str(file), *options, code=ExitCode.REFUSED).json["rejected_file"]
    )
    first, second = read_csv(rejects)
    assert "columns" in second["reason"]
    mended = tmp_path / "mended.csv"
    write_csv(
        mended, [[first["Ref"], "DEPOSIT", "10", users[0]]], ("Ref", "type", "amount", "user_id")
    )
    assert saldo("import", str(mended), *options).json["posted"] == 1
    assert saldo.balance(users[0]) == 21


def test_transaction_refused_in_its_original_ledger_is_not_posted(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    rows = [
        [str(uuid4()), "DEPOSIT", "5", users[0], "posted"],
        [str(uuid4()), "WITHDRAW", "5", users[0], "insufficient_funds"],
    ]
    file = write_csv(tmp_path / "all.csv", rows, ("uuid", "type", "amount", "user_id", "outcome"))
    found = saldo("import", str(file), "--json", code=ExitCode.REFUSED).json
    assert (found["posted"], found["invalid"]) == (1, 1)
    (rejected,) = read_csv(Path(found["rejected_file"]))
    assert "insufficient_funds" in rejected["reason"]
    assert saldo.balance(users[0]) == 5


def test_unclosed_quote_swallows_no_rows_silently(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "quote.csv"
    rows = "".join(f"{uuid4()},DEPOSIT,1,{users[0]},x\n" for _ in range(5))
    file.write_text(
        f'uuid,type,amount,user_id,note\n{rows}{uuid4()},DEPOSIT,1,{users[0]},"x\n{rows}'
    )
    ended = saldo("import", str(file), code=ExitCode.REFUSED)
    assert "can't read lines 7 to 12" in ended.errors
    assert "5 rows were processed, and the rest of the file was not read" in ended.errors
    assert saldo.balance(users[0]) == 5
    assert (
        "5 rows before it were checked"
        in saldo("import", str(file), "--dry-run", code=ExitCode.REFUSED).errors
    )
    file.write_text(file.read_text().replace('"', ""))
    found = saldo("import", str(file), "--json").json
    assert (found["posted"], found["replayed"]) == (1, 10)
    assert saldo.balance(users[0]) == 6


@pytest.mark.parametrize("closed", ["", ' "in quotes"', '"', '",7'])
def test_fixed_quote_changes_no_row_numbers(
    saldo: Program, users: list[str], tmp_path: Path, closed: str
) -> None:
    """Import a file with an unclosed quote, whose rows have uuids derived from their numbers.

    The quote is closed nowhere, within a later row, or as if it were meant so.
    """
    file = tmp_path / "bank.csv"
    rows = [f"{users[0]},1,row {n}" for n in range(3000)]
    mended = "\n".join(["user_id,amount,note", *rows])
    rows[100] = f'{users[0]},1,"row 100'
    rows[2500] += closed
    file.write_text("\n".join(["user_id,amount,note", *rows]))
    options = ("import", str(file), "--signed", "--id", f"bank {uuid4()}")
    ended = saldo(*options, code=ExitCode.REFUSED)
    assert "lines 102 to " in ended.errors
    assert saldo.balance(users[0]) == 100
    file.write_text(mended)
    found = saldo(*options, "--json").json
    assert (found["posted"], found["replayed"]) == (2900, 100)
    assert saldo.balance(users[0]) == 3000


def test_quoted_row_over_several_lines_is_one_row(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "notes.csv"
    rows = [f'{users[0]},1,"a, b\n\nc, d, ""e""\n"', f'{users[0]},1,"a "b" c"', f"{users[0]},1,"]
    file.write_text("\n".join(["user_id,amount,note", *rows]))
    found = saldo(
        *("import", str(file), "--signed", "--id", f"notes {uuid4()}", "--json"),
        code=ExitCode.REFUSED,
    ).json
    assert (found["posted"], found["invalid"]) == (2, 1)
    # A line that can't be split into columns is rejected unchanged.
    (rejected,) = read_csv(Path(found["rejected_file"]))
    assert rows[1] in rejected.values()


def test_lone_surrogate_makes_one_bad_row(saldo: Program, users: list[str], tmp_path: Path) -> None:
    file = tmp_path / "half.ndjson"
    line = f'"amount": "1", "user_id": {users[0]}'
    file.write_text(
        f'{{"uuid": "{uuid4()}", "type": "\\ud800", {line}}}\n'
        f'{{"uuid": "{uuid4()}", "type": "DEPOSIT", {line}}}\n'
    )
    found = saldo("import", str(file), "--json", code=ExitCode.REFUSED).json
    assert (found["posted"], found["invalid"]) == (1, 1)


@pytest.mark.parametrize(
    ("unit", "value", "read"),
    [
        ("ns", 1_767_225_600_000_000_001, "2026-01-01T00:00:00+00:00"),
        ("us", 253_402_300_800_000_000, None),  # the year 10000
    ],
)
def test_parquet_times_beyond_the_range_of_python(
    saldo: Program, users: list[str], tmp_path: Path, unit: str, value: int, read: str | None
) -> None:
    columns = {
        "uuid": [str(uuid4()), str(uuid4())],
        "type": ["DEPOSIT"] * 2,
        "amount": ["1", "2"],
        "user_id": [int(users[0])] * 2,
        "timestamp": arrow.array([value, None]).cast(arrow.timestamp(unit, "Europe/Berlin")),
    }
    file = tmp_path / "times.parquet"
    parquet.write_table(arrow.table(columns), file)
    found = saldo(
        "import", str(file), "--json", code=ExitCode.REFUSED if read is None else ExitCode.DONE
    )
    assert (found.json["posted"], found.json["invalid"]) == ((1, 1) if read is None else (2, 0))
    if read is not None:
        listed = saldo("transactions", users[0], "--json").lines
        assert {each["amount"]: each["timestamp"] for each in listed}["1.00"] == read
    else:
        (rejected,) = read_csv(Path(found.json["rejected_file"]))
        assert "timestamp" in rejected["reason"]


def test_times_without_an_offset_are_in_the_configured_time_zone(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    line = (str(uuid4()), "DEPOSIT", "1", users[0], "2026-01-31 12:00:00")
    file = write_csv(tmp_path / "zone.csv", [line])
    saldo("import", str(file), SALDO_TIMEZONE="Europe/Berlin")
    (found,) = saldo("transactions", users[0], "--json").lines
    assert found["timestamp"] == "2026-01-31T11:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "content", "options", "named"),
    [
        ("missing.csv", None, (), "missing.csv"),
        ("empty.csv", "", (), "the first line must contain the names of the columns"),
        (
            "few.csv",
            "uuid,amount\n",
            (),
            "there is no column user_id, type; the columns in the first line are uuid, amount",
        ),
        ("a.csv", "sep=;\nuuid;amount\n", ("--delimiter", ";"), "delete it"),
        ("what.txt", "x", (), "--format"),
        ("a.csv", "uuid,type,amount,user_id,amount\n", (), "two columns have the name amount"),
        ("a.csv", "x\n", ("--map", "amount"), "--map"),
        ("a.csv", "x\n", ("--map", "sum=amount"), "--map"),
        ("a.csv", "x\n", ("--deposit", "a", "--withdraw", "A"), "--deposit"),
        ("a.csv", "uuid;type;amount;user_id\n", (), "--delimiter"),
        ("a.csv", "x\n", ("--delimiter", "ab"), "--delimiter"),
        ("a.csv", "u\0u\0", (), "expected UTF-8"),
        ("a.ndjson", "{\0", (), "expected UTF-8"),
        ("a.parquet", "x\n", (), "a.parquet"),
    ],
)
def test_unreadable_files_are_usage_errors(
    saldo: Program,
    tmp_path: Path,
    name: str,
    content: str | None,
    options: tuple[str, ...],
    named: str,
) -> None:
    file = tmp_path / name
    if content is not None:
        file.write_text(content)
    ended = saldo("import", str(file), *options, code=ExitCode.USAGE)
    assert named in ended.errors.splitlines()[-1]


def test_pipes_and_directories_are_rejected_without_waiting(tmp_path: Path) -> None:
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "directory.csv").mkdir()
    for name in ("pipe.csv", "directory.csv"):
        ended = nobody("import", str(tmp_path / name), code=ExitCode.USAGE)
        assert ended.errors == f"saldo: {tmp_path / name}: only a regular file can be imported\n"


@pytest.mark.parametrize("name", ["rejected.csv", "import.json", "import.lock"])
def test_unwritable_paths_are_found_before_anything_is_posted(
    saldo: Program, users: list[str], tmp_path: Path, name: str
) -> None:
    file = write_csv(tmp_path / "a.csv", [*deposits(3, users), ("x", "DEPOSIT", "1", "1", "")])
    taken = tmp_path / f"a.csv.{name}"
    taken.mkdir()
    ended = saldo("import", str(file), code=ExitCode.USAGE)
    assert ended.errors == f"saldo: can't write {taken}: Is a directory\n"
    assert [saldo.balance(user) for user in users] == [0, 0]


def test_written_files_can_go_to_another_directory(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "a.csv", [("x", "DEPOSIT", "1", users[0], "")])
    elsewhere = tmp_path / "elsewhere"
    options = ("import", str(file), "--json", "--state-directory", str(elsewhere))
    assert "--state-directory" in saldo(*options, code=ExitCode.USAGE).errors
    elsewhere.mkdir()
    found = saldo(*options, code=ExitCode.REFUSED).json
    assert found["rejected_file"] == str(elsewhere / "a.csv.rejected.csv")
    assert sorted(tmp_path.iterdir()) == [file, elsewhere]
    assert [each.name for each in elsewhere.iterdir()] == ["a.csv.rejected.csv"]


def test_second_import_of_the_same_file_is_rejected(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "a.csv", deposits(3, users, seed=random.randrange(10**9)))
    lock = tmp_path / "a.csv.import.lock"
    with hold_lock(lock, "the test has it"):
        ended = saldo("import", str(file), code=ExitCode.USAGE)
    assert ended.errors == f"saldo: another import of {file} is running: wait until it ends\n"
    # A lock file left behind by a killed process locks nothing.
    lock.touch()
    assert saldo("import", str(file), "--json").json["posted"] == 3
    assert sorted(tmp_path.iterdir()) == [file]


def test_rejected_rows_are_not_lost_between_two_runs(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    """Resume an import that ended at an unclosed quote, and check that the rejected rows before it are kept."""
    file = tmp_path / "a.csv"
    rows = f"{users[0]},1,a\n{users[0]},1.234,b\n"
    file.write_text(f'user_id,amount,note\n{rows}{users[0]},1,"\n')
    rejects = tmp_path / "a.csv.rejected.csv"
    options = ("import", str(file), "--signed", "--id", f"a {uuid4()}")
    assert f"rejected rows (1) are in {rejects}" in saldo(*options, code=ExitCode.REFUSED).errors
    written = rejects.read_text()
    assert "1.234" in written
    assert (
        "continuing the interrupted import after row 2"
        in saldo(*options, code=ExitCode.REFUSED).errors
    )
    assert rejects.read_text() == written
    for change in (rejects.unlink, lambda: rejects.write_text(written[:-9])):
        change()
        ended = saldo(*options, code=ExitCode.REFUSED)
        assert f"{rejects} was changed, so the import starts at the first row" in ended.errors
        assert rejects.read_text() == written
    rejects.write_text(written.replace("1.234", "1.24"))
    ended = saldo(*options, code=ExitCode.REFUSED)
    kept = tmp_path / "a.csv.rejected.1.csv"
    assert f"renamed to {kept}" in ended.errors
    assert "1.24" in kept.read_text()
    assert rejects.read_text() == written
    assert saldo.balance(users[0]) == 1


def test_unreadable_state_file_is_reported_and_ignored(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "a.csv", deposits(3, users, seed=random.randrange(10**9)))
    state = tmp_path / "a.csv.import.json"
    state.write_text("{}")
    ended = saldo("import", str(file), "--json")
    assert f"can't read {state}, so the import starts at the first row" in ended.errors
    assert ended.json["posted"] == 3


def test_edited_rejected_rows_are_kept_by_the_next_import(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = [[str(uuid4()), "DEPOSIT", "1.234", users[0], ""]]
    file = write_csv(tmp_path / "a.csv", lines)
    rejects = tmp_path / "a.csv.rejected.csv"
    for _ in range(2):
        assert "renamed to" not in saldo("import", str(file), code=ExitCode.REFUSED).errors
    assert sorted(tmp_path.iterdir()) == [file, rejects]
    mended = rejects.read_text().replace("1.234", "1.23")
    rejects.write_text(mended)
    ended = saldo("import", str(file), code=ExitCode.REFUSED)
    kept = tmp_path / "a.csv.rejected.1.csv"
    assert f"{rejects} already existed with other rows, and was renamed to {kept}" in ended.errors
    assert kept.read_text() == mended
    assert "1.234" in rejects.read_text()


def test_rate_counts_only_the_rows_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    ImportSummary(RowCounts(rows=1_000_000), 999_000, None, 2.0, None).print(
        dry_run=False, as_json=False
    )
    assert "2.0 s, 500 rows/s" in capsys.readouterr().out


def test_interrupted_import_resumes_and_posts_every_row_once(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = deposits(3 * CHUNK_ROWS, users, seed=random.randrange(10**9))
    bad = ("x", "DEPOSIT", "1", users[0], "")
    file = write_csv(tmp_path / "long.csv", [bad, *lines, bad])
    state = tmp_path / "long.csv.import.json"
    importing = saldo.start("import", str(file))
    _until(state.exists, importing)
    importing.send_signal(signal.SIGINT)
    _, errors = importing.communicate(timeout=120)
    assert importing.returncode == ExitCode.INTERRUPTED, errors
    assert "rows were processed; repeat the same command to continue" in errors
    done = json.loads(state.read_text())["counts"]["rows"]
    assert 0 < done < len(lines) + 2
    ended = saldo("import", str(file), "--json", code=ExitCode.REFUSED)
    assert f"continuing the interrupted import after row {done:,}" in ended.errors
    found = ended.json
    # The counts cover the whole file, not just the second run.
    assert (found["rows"], found["posted"], found["replayed"]) == (len(lines) + 2, len(lines), 0)
    assert [row["line"] for row in read_csv(Path(found["rejected_file"]))] == [
        "2",
        str(len(lines) + 3),
    ]
    assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]
    assert not state.exists()
    exported = tmp_path / "exported.csv"
    saldo("export", str(exported), "--columns", ",".join(COLUMNS), "--posted")
    there = {
        (row["uuid"], row["amount"], row["user_id"])
        for row in read_csv(exported)
        if row["user_id"] in users
    }
    assert there == {(line[0], line[2], line[3]) for line in lines}


def test_killed_import_resends_some_rows_without_posting_twice(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = deposits(3 * CHUNK_ROWS, users, seed=random.randrange(10**9))
    file = write_csv(tmp_path / "killed.csv", lines)
    importing = saldo.start("import", str(file))
    _until((tmp_path / "killed.csv.import.json").exists, importing)
    importing.kill()
    importing.communicate()
    found = saldo("import", str(file), "--json").json
    assert found["rows"] == found["posted"] + found["replayed"] == len(lines)
    assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]


def test_import_waits_for_a_killed_service(tmp_path: Path) -> None:
    directory = tmp_path / "service"
    directory.mkdir()
    with run_service_process(directory) as first:
        saldo = Program(SALDO_URL=first.url)
        users = [saldo.user(f"user {number}") for number in range(2)]
        lines = deposits(4 * CHUNK_ROWS, users)
        file = write_csv(tmp_path / "steady.csv", lines)
        importing = saldo.start("import", str(file), "--json")
        _until((tmp_path / "steady.csv.import.json").exists, importing)
        first.end(signal.SIGKILL)
        port = first.url.rpartition(":")[2]
        with run_service_process(directory, SALDO_PORT=port):
            output, errors = importing.communicate(timeout=120)
            assert importing.returncode == 0, errors
            assert "saldo: waiting for the service: " in errors
            assert "saldo: the service is available again" in errors
            found = json.loads(output)
            assert found["rows"] == found["posted"] + found["replayed"] == len(lines)
            assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]


def test_other_file_with_the_same_name_starts_at_its_first_row(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = deposits(3 * CHUNK_ROWS, users, seed=random.randrange(10**9))
    file = write_csv(tmp_path / "changed.csv", lines)
    importing = saldo.start("import", str(file))
    _until((tmp_path / "changed.csv.import.json").exists, importing)
    importing.kill()
    importing.communicate()
    write_csv(file, lines[:10])
    ended = saldo("import", str(file), "--json")
    assert "so the import starts at the first row" in ended.errors
    assert ended.json["rows"] == 10


def _until(true: Callable[[], bool], importing: subprocess.Popen[str]) -> None:
    """Poll until a condition is true; fail if the import ends before."""
    while not true():
        assert importing.poll() is None, importing.communicate()
