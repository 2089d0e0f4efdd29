"""`saldo import`: every row once, whatever happens; what can't be posted is put aside with the reason."""

from __future__ import annotations

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
from uuid import uuid4

import pytest

from saldo.cli.counts import Counts, tell
from saldo.cli.exits import Exit
from saldo.cli.import_ import CHUNK_ROWS, FAULTS_SHOWN_MAX
from saldo.cli.resumption import alone
from tests.acceptance.service import service
from tests.cli.files import COLUMNS, Line, deposits, read_csv, write_csv
from tests.cli.program import COMMAND, Program

arrow = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


@pytest.fixture
def users(saldo: Program) -> list[str]:
    return [saldo.user(f"imported {uuid4()}") for _ in range(2)]


def total(lines: list[Line], user: str) -> Decimal:
    return sum((Decimal(line[2]) for line in lines if line[3] == user), Decimal(0))


def test_every_row_is_posted_and_again_none_is(
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


def test_bad_rows_are_put_aside_and_the_rest_goes_on(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    good = deposits(3, users, seed=random.randrange(10**9))
    user = users[0]
    bad: list[tuple[list[str], str]] = [
        ([str(uuid4()), "WITHDRAW", "99999999", user, ""], "insufficient_funds"),
        ([str(uuid4()), "TRANSFER", "1", user, ""], "type must be deposit or withdraw"),
        ([str(uuid4()), "DEPOSIT", "1.234", user, ""], "amount"),
        ([str(uuid4()), "DEPOSIT", "", user, ""], "amount is missing"),
        ([str(uuid4()), "DEPOSIT", "1", "999999999", ""], "999999999"),
        (["x", "DEPOSIT", "1", user, ""], "uuid must be a uuid"),
        ([str(uuid4()), "DEPOSIT", "1", user, "yesterday"], "timestamp"),
        ([str(uuid4()), "DEPOSIT", "1", user], "has 4 columns, the heading has 5"),
        ([good[0][0], "DEPOSIT", "1", user, ""], "uuid"),
    ]
    lines = [list(good[0]), *(row for row, _ in bad), *map(list, good[1:])]
    file = write_csv(tmp_path / "mixed.csv", lines)
    found = saldo("import", str(file), "--json", code=Exit.REFUSED).json
    # A uuid that is known with other contents is recorded nowhere; a withdrawal that is not covered is.
    assert (found["rows"], found["posted"], found["refused"], found["bad"]) == (12, 3, 1, 8)
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
def test_rows_put_aside_are_read_as_the_file_was(
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
    first = Path(saldo(*command, code=Exit.REFUSED).json["rejected_file"])
    heading = ["line", "reason", "uuid", "user_id", "amount"]
    assert first.read_text().splitlines()[0] == separator.join(heading)
    second = Path(saldo("import", str(first), *told, code=Exit.REFUSED).json["rejected_file"])
    # The line and the reason are of the last time.
    assert second.read_text().replace(f"\n2{separator}", f"\n3{separator}") == first.read_text()
    first.write_text(first.read_text().replace("1.234", "1.23"))
    assert saldo("import", str(first), *told).json["posted"] == 1


def test_a_dry_run_in_a_terminal_shows_some_faults_and_how_many_more(tmp_path: Path) -> None:
    bad = ("x", "DEPOSIT", "1", "1", "")
    file = write_csv(tmp_path / "bad.csv", [bad] * (FAULTS_SHOWN_MAX + 5))
    ours, theirs = pty.openpty()
    command = [*COMMAND, "import", str(file), "--dry-run"]
    with subprocess.Popen(
        command, env=Program().environment, stdout=subprocess.DEVNULL, stderr=theirs
    ):
        os.close(theirs)
        shown = b""
        # Linux ends it by an error.
        with suppress(OSError):
            while data := os.read(ours, 65_536):
                shown += data
    os.close(ours)
    assert shown.count(b"uuid must be") == FAULTS_SHOWN_MAX
    assert b"and 5 more" in shown
    piped = Program()(*command[len(COMMAND) :], code=Exit.REFUSED).errors
    assert piped.count("uuid must be") == FAULTS_SHOWN_MAX + 5


def test_sums_are_written_alike(capsys: pytest.CaptureFixture[str]) -> None:
    counts = Counts(rows=1, posted=1, deposited=Decimal("1234.50"))
    tell(counts, 0, None, 1.0, dry_run=False, as_json=False)
    tell(counts, 0, None, 1.0, dry_run=False, as_json=True)
    text, document = capsys.readouterr().out.rsplit("\n", 2)[:2]
    assert "deposits 1,234.50, withdrawals 0.00" in text
    assert json.loads(document)["withdrawn"] == "0.00"


def test_a_dry_run_posts_nothing_and_needs_no_service(tmp_path: Path) -> None:
    lines = [*deposits(5, ["1"]), (str(uuid4()), "DEPOSIT", "1.234", "1", "")]
    file = write_csv(tmp_path / "dry.csv", lines)
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    ended = nobody("import", str(file), "--dry-run", "--json", code=Exit.REFUSED)
    assert (ended.json["rows"], ended.json["valid"], ended.json["bad"]) == (6, 5, 1)
    assert "line 7: " in ended.errors
    assert "amount" in ended.errors
    assert list(tmp_path.iterdir()) == [file]


def test_columns_are_mapped_and_uuids_are_made(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "bank.csv"
    file.write_text(f"Account,Sum,Note\n{users[0]},10.00,a\n{users[0]},-4,b\n{users[1]},+3,c\n")
    command = ("import", str(file), "--signed", "--map", "user_id=Account", "--map", "amount=Sum")
    ended = saldo(*command, code=Exit.USAGE)
    assert "--id" in ended.errors
    name = f"bank {uuid4()}"
    assert saldo(*command, "--id", name, "--json").json["posted"] == 3
    assert [saldo.balance(user) for user in users] == [6, 3]
    assert saldo(*command, "--id", name, "--json").json["replayed"] == 3
    assert [saldo.balance(user) for user in users] == [6, 3]


def test_put_aside_rows_keep_their_uuids_in_another_file(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    """Also those that were made: by its number there, a row would be taken for another one of this file."""
    file = tmp_path / "some.csv"
    file.write_text(
        f"Ref,type,amount,user_id\n,DEPOSIT,10,{users[0]}\n,DEPOSIT,1.234,{users[0]}\n"
        f"{uuid4()},DEPOSIT,1,{users[0]}\n,DEPOSIT\n"
    )
    options = ("--map", "uuid=Ref", "--id", f"some {uuid4()}", "--json")
    rejects = Path(saldo("import", str(file), *options, code=Exit.REFUSED).json["rejected_file"])
    first, second = read_csv(rejects)
    assert "columns" in second["reason"]
    mended = tmp_path / "mended.csv"
    write_csv(
        mended, [[first["Ref"], "DEPOSIT", "10", users[0]]], ("Ref", "type", "amount", "user_id")
    )
    assert saldo("import", str(mended), *options).json["posted"] == 1
    assert saldo.balance(users[0]) == 21


def test_what_was_refused_elsewhere_is_not_posted(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    rows = [
        [str(uuid4()), "DEPOSIT", "5", users[0], "posted"],
        [str(uuid4()), "WITHDRAW", "5", users[0], "insufficient_funds"],
    ]
    file = write_csv(tmp_path / "all.csv", rows, ("uuid", "type", "amount", "user_id", "outcome"))
    found = saldo("import", str(file), "--json", code=Exit.REFUSED).json
    assert (found["posted"], found["bad"]) == (1, 1)
    (rejected,) = read_csv(Path(found["rejected_file"]))
    assert "insufficient_funds" in rejected["reason"]
    assert saldo.balance(users[0]) == 5


def test_an_unclosed_quote_takes_no_rows_along_silently(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "quote.csv"
    rows = "".join(f"{uuid4()},DEPOSIT,1,{users[0]},x\n" for _ in range(5))
    file.write_text(
        f'uuid,type,amount,user_id,note\n{rows}{uuid4()},DEPOSIT,1,{users[0]},"x\n{rows}'
    )
    ended = saldo("import", str(file), code=Exit.REFUSED)
    assert "lines 7 to 12 can't be read" in ended.errors
    assert "5 rows are done, and nothing after them was read" in ended.errors
    assert saldo.balance(users[0]) == 5
    assert (
        "5 rows before it were checked"
        in saldo("import", str(file), "--dry-run", code=Exit.REFUSED).errors
    )
    file.write_text(file.read_text().replace('"', ""))
    found = saldo("import", str(file), "--json").json
    assert (found["posted"], found["replayed"]) == (1, 10)
    assert saldo.balance(users[0]) == 6


@pytest.mark.parametrize("closed", ["", ' "in quotes"', '"', '",7'])
def test_a_mended_quote_gives_no_row_another_number(
    saldo: Program, users: list[str], tmp_path: Path, closed: str
) -> None:
    """Uuids are made of numbers. The quote is closed nowhere, within a later row, or as if it were meant so."""
    file = tmp_path / "bank.csv"
    rows = [f"{users[0]},1,row {n}" for n in range(3000)]
    mended = "\n".join(["user_id,amount,note", *rows])
    rows[100] = f'{users[0]},1,"row 100'
    rows[2500] += closed
    file.write_text("\n".join(["user_id,amount,note", *rows]))
    options = ("import", str(file), "--signed", "--id", f"bank {uuid4()}")
    ended = saldo(*options, code=Exit.REFUSED)
    assert "lines 102 to " in ended.errors
    assert saldo.balance(users[0]) == 100
    file.write_text(mended)
    found = saldo(*options, "--json").json
    assert (found["posted"], found["replayed"]) == (2900, 100)
    assert saldo.balance(users[0]) == 3000


def test_a_row_in_quotes_of_several_lines_is_one_row(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "notes.csv"
    rows = [f'{users[0]},1,"a, b\n\nc, d, ""e""\n"', f'{users[0]},1,"a "b" c"', f"{users[0]},1,"]
    file.write_text("\n".join(["user_id,amount,note", *rows]))
    found = saldo(
        *("import", str(file), "--signed", "--id", f"notes {uuid4()}", "--json"), code=Exit.REFUSED
    ).json
    assert (found["posted"], found["bad"]) == (2, 1)
    # What can't be read as columns is put aside as it stands.
    (rejected,) = read_csv(Path(found["rejected_file"]))
    assert rows[1] in rejected.values()


def test_half_a_character_makes_one_bad_row(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = tmp_path / "half.ndjson"
    line = f'"amount": "1", "user_id": {users[0]}'
    file.write_text(
        f'{{"uuid": "{uuid4()}", "type": "\\ud800", {line}}}\n'
        f'{{"uuid": "{uuid4()}", "type": "DEPOSIT", {line}}}\n'
    )
    found = saldo("import", str(file), "--json", code=Exit.REFUSED).json
    assert (found["posted"], found["bad"]) == (1, 1)


@pytest.mark.parametrize(
    ("unit", "value", "read"),
    [
        ("ns", 1_767_225_600_000_000_001, "2026-01-01T00:00:00+00:00"),
        ("us", 253_402_300_800_000_000, None),  # the year 10000
    ],
)
def test_times_of_parquet_that_python_has_not(
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
    found = saldo("import", str(file), "--json", code=Exit.REFUSED if read is None else Exit.DONE)
    assert (found.json["posted"], found.json["bad"]) == ((1, 1) if read is None else (2, 0))
    if read is not None:
        listed = saldo("transactions", users[0], "--json").lines
        assert {each["amount"]: each["timestamp"] for each in listed}["1.00"] == read
    else:
        (rejected,) = read_csv(Path(found.json["rejected_file"]))
        assert "timestamp" in rejected["reason"]


def test_times_without_an_offset_are_of_the_zone(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    line = (str(uuid4()), "DEPOSIT", "1", users[0], "2026-01-31 12:00:00")
    file = write_csv(tmp_path / "zone.csv", [line])
    saldo("import", str(file), SALDO_ZONE="Europe/Berlin")
    (found,) = saldo("transactions", users[0], "--json").lines
    assert found["timestamp"] == "2026-01-31T11:00:00+00:00"


@pytest.mark.parametrize(
    ("name", "content", "options", "named"),
    [
        ("missing.csv", None, (), "missing.csv"),
        ("empty.csv", "", (), "its first line must name the columns"),
        ("few.csv", "uuid,amount\n", (), "there is no column user_id, type"),
        ("what.txt", "x", (), "--format"),
        ("a.csv", "uuid,type,amount,user_id,amount\n", (), "two columns amount"),
        ("a.csv", "x\n", ("--map", "amount"), "--map"),
        ("a.csv", "x\n", ("--map", "sum=amount"), "--map"),
        ("a.csv", "x\n", ("--deposit", "a", "--withdraw", "A"), "--deposit"),
        ("a.csv", "uuid;type;amount;user_id\n", (), "--delimiter"),
        ("a.csv", "x\n", ("--delimiter", "ab"), "--delimiter"),
        ("a.csv", "u\0u\0", (), "not UTF-8"),
        ("a.ndjson", "{\0", (), "not UTF-8"),
        ("a.parquet", "x\n", (), "a.parquet"),
    ],
)
def test_what_can_not_be_read_at_all(
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
    ended = saldo("import", str(file), *options, code=Exit.USAGE)
    assert named in ended.errors.splitlines()[-1]


def test_what_is_no_regular_file_is_not_waited_for(tmp_path: Path) -> None:
    nobody = Program(SALDO_URL="http://127.0.0.1:9")
    os.mkfifo(tmp_path / "pipe.csv")
    (tmp_path / "directory.csv").mkdir()
    for name in ("pipe.csv", "directory.csv"):
        ended = nobody("import", str(tmp_path / name), code=Exit.USAGE)
        assert ended.errors == f"saldo: {tmp_path / name}: not a regular file\n"


@pytest.mark.parametrize("name", ["rejected.csv", "import.json", "import.json.new", "import.lock"])
def test_what_can_not_be_written_is_found_before_anything_is_posted(
    saldo: Program, users: list[str], tmp_path: Path, name: str
) -> None:
    file = write_csv(tmp_path / "a.csv", [*deposits(3, users), ("x", "DEPOSIT", "1", "1", "")])
    taken = tmp_path / f"a.csv.{name}"
    taken.mkdir()
    ended = saldo("import", str(file), code=Exit.USAGE)
    assert ended.errors == f"saldo: {taken} can't be written: Is a directory\n"
    assert [saldo.balance(user) for user in users] == [0, 0]


def test_another_directory_for_what_is_written(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "a.csv", [("x", "DEPOSIT", "1", users[0], "")])
    elsewhere = tmp_path / "elsewhere"
    options = ("import", str(file), "--json", "--state-directory", str(elsewhere))
    assert "--state-directory" in saldo(*options, code=Exit.USAGE).errors
    elsewhere.mkdir()
    found = saldo(*options, code=Exit.REFUSED).json
    assert found["rejected_file"] == str(elsewhere / "a.csv.rejected.csv")
    assert sorted(tmp_path.iterdir()) == [file, elsewhere]
    assert [each.name for each in elsewhere.iterdir()] == ["a.csv.rejected.csv"]


def test_one_import_of_a_file_at_a_time(saldo: Program, users: list[str], tmp_path: Path) -> None:
    file = write_csv(tmp_path / "a.csv", deposits(3, users, seed=random.randrange(10**9)))
    lock = tmp_path / "a.csv.import.lock"
    with alone(lock, "the test has it"):
        ended = saldo("import", str(file), code=Exit.USAGE)
    assert ended.errors == f"saldo: another import of {file} is running\n"
    # One that is left there by whoever was killed is nobody's.
    lock.touch()
    assert saldo("import", str(file), "--json").json["posted"] == 3
    assert sorted(tmp_path.iterdir()) == [file]


def test_rows_put_aside_are_not_lost_between_two_runs(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    """An import that goes on after the rows before the quote, as it was there that it ended."""
    file = tmp_path / "a.csv"
    rows = f"{users[0]},1,a\n{users[0]},1.234,b\n"
    file.write_text(f'user_id,amount,note\n{rows}{users[0]},1,"\n')
    rejects = tmp_path / "a.csv.rejected.csv"
    options = ("import", str(file), "--signed", "--id", f"a {uuid4()}")
    assert f"rows put aside (1) are in {rejects}" in saldo(*options, code=Exit.REFUSED).errors
    written = rejects.read_text()
    assert "1.234" in written
    assert "going on after row 2" in saldo(*options, code=Exit.REFUSED).errors
    assert rejects.read_text() == written
    for change in (rejects.unlink, lambda: rejects.write_text(written[:-9])):
        change()
        ended = saldo(*options, code=Exit.REFUSED)
        assert f"{rejects} is not as it was written: beginning at the first row" in ended.errors
        assert rejects.read_text() == written
    rejects.write_text(written.replace("1.234", "1.24"))
    ended = saldo(*options, code=Exit.REFUSED)
    kept = tmp_path / "a.csv.rejected.1.csv"
    assert f"kept as {kept}" in ended.errors
    assert "1.24" in kept.read_text()
    assert rejects.read_text() == written
    assert saldo.balance(users[0]) == 1


def test_a_state_that_can_not_be_read_is_told(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    file = write_csv(tmp_path / "a.csv", deposits(3, users, seed=random.randrange(10**9)))
    state = tmp_path / "a.csv.import.json"
    state.write_text("{}")
    ended = saldo("import", str(file), "--json")
    assert f"{state} can't be read: beginning at the first row" in ended.errors
    assert ended.json["posted"] == 3


def test_mended_rows_are_kept_when_the_file_is_imported_again(
    saldo: Program, users: list[str], tmp_path: Path
) -> None:
    lines = [[str(uuid4()), "DEPOSIT", "1.234", users[0], ""]]
    file = write_csv(tmp_path / "a.csv", lines)
    rejects = tmp_path / "a.csv.rejected.csv"
    for _ in range(2):
        assert "kept as" not in saldo("import", str(file), code=Exit.REFUSED).errors
    assert sorted(tmp_path.iterdir()) == [file, rejects]
    mended = rejects.read_text().replace("1.234", "1.23")
    rejects.write_text(mended)
    ended = saldo("import", str(file), code=Exit.REFUSED)
    kept = tmp_path / "a.csv.rejected.1.csv"
    assert f"{rejects} was there with other rows: it is kept as {kept}" in ended.errors
    assert kept.read_text() == mended
    assert "1.234" in rejects.read_text()


def test_the_rate_is_of_the_rows_of_this_run(capsys: pytest.CaptureFixture[str]) -> None:
    tell(Counts(rows=1_000_000), 999_000, None, 2.0, dry_run=False, as_json=False)
    assert "2.0 s, 500 rows/s" in capsys.readouterr().out


def test_interrupted_it_goes_on_and_every_row_is_there_once(
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
    assert importing.returncode == Exit.INTERRUPTED, errors
    assert "rows are done; the same command goes on from there" in errors
    done = json.loads(state.read_text())["counts"]["rows"]
    assert 0 < done < len(lines) + 2
    ended = saldo("import", str(file), "--json", code=Exit.REFUSED)
    assert f"going on after row {done:,}" in ended.errors
    found = ended.json
    # The counts are of the whole file, not of the second run.
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


def test_killed_it_sends_some_rows_again_and_none_counts_twice(
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


def test_the_service_is_killed_and_the_import_waits_for_it(tmp_path: Path) -> None:
    directory = tmp_path / "service"
    directory.mkdir()
    with service(directory) as first:
        saldo = Program(SALDO_URL=first.url)
        users = [saldo.user(f"user {number}") for number in range(2)]
        lines = deposits(4 * CHUNK_ROWS, users)
        file = write_csv(tmp_path / "steady.csv", lines)
        importing = saldo.start("import", str(file), "--json")
        _until((tmp_path / "steady.csv.import.json").exists, importing)
        first.end(signal.SIGKILL)
        port = first.url.rpartition(":")[2]
        with service(directory, SALDO_PORT=port):
            output, errors = importing.communicate(timeout=120)
            assert importing.returncode == 0, errors
            assert "saldo: waiting: " in errors
            assert "saldo: the service is back" in errors
            found = json.loads(output)
            assert found["rows"] == found["posted"] + found["replayed"] == len(lines)
            assert [saldo.balance(user) for user in users] == [total(lines, user) for user in users]


def test_another_file_of_the_name_begins_at_its_first_row(
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
    assert "beginning at the first row" in ended.errors
    assert ended.json["rows"] == 10


def _until(true: Callable[[], bool], importing: subprocess.Popen[str]) -> None:
    """Looks until it is; fails if the import has ended before."""
    while not true():
        assert importing.poll() is None, importing.communicate()
