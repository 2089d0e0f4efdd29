"""Times without an offset: options and files interpret them in the time zone of the command's machine."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4
from zoneinfo import ZoneInfo

import httpx
import pytest
from typer.testing import CliRunner

from harness.program.command import Program
from harness.transaction_files import COLUMNS, write_csv
from saldo.cli import times as clock
from saldo.cli.commands import backup, export, keys, relay
from saldo.cli.exit_codes import CommandError
from saldo.cli.exporting.sources import ExportFilter
from saldo.cli.file_formats import Format
from saldo.cli.importing.row_mapping import RowMapper, parse_mapping
from saldo.cli.importing.row_readers import open_row_file
from saldo.cli.program import build_app
from saldo.parsing.faults import InvalidRequestError
from tests.cli.process.test_program import EVERY

ZONE = "Asia/Tokyo"
"""Time zone of the command's machine; the service of these tests is in UTC."""

MIDNIGHT = datetime(2026, 1, 31, 15, tzinfo=UTC)
"""Midnight of 1 February in that time zone."""

TEXTS = ("2026-02-01", "2026-02-01T00-00-00", "2026-02-01 00:00", "2026-02-01T00:00:00")

TIMES: dict[tuple[str, str], list[str]] = {
    ("balance", "--date"): ["balance", "1", "--date", "{}"],
    ("balance", "--known-at"): ["balance", "1", "--known-at", "{}"],
    ("balance", "--from"): ["balance", "1", "--plot", "--from", "{}"],
    ("balance", "--to"): ["balance", "1", "--plot", "--from", "2026-01-01", "--to", "{}"],
    ("deposit", "--timestamp"): ["deposit", "1", "1", "--timestamp", "{}"],
    ("withdraw", "--timestamp"): ["withdraw", "1", "1", "--timestamp", "{}"],
    ("export", "--from"): ["export", "-", "--user", "1", "--from", "{}"],
    ("export", "--to"): ["export", "-", "--user", "1", "--to", "{}"],
    ("export", "--recorded-from"): ["export", "-", "--user", "1", "--recorded-from", "{}"],
    ("export", "--recorded-to"): ["export", "-", "--user", "1", "--recorded-to", "{}"],
    ("keys create", "--expires-at"): [
        "keys",
        "create",
        "a",
        "--scope",
        "read",
        "--expires-at",
        "{}",
    ],
    ("relay rewind", "--to"): ["relay", "rewind", "--sink", "a", "--to", "{}"],
    ("restore", "--to"): ["restore", ".", "--wal-archive", ".", "--data-dir", "new", "--to", "{}"],
    ("statement", "--from"): ["statement", "1", "--from", "{}"],
    ("statement", "--to"): ["statement", "1", "--from", "2026-01-01", "--to", "{}"],
    ("statement", "--known-at"): ["statement", "1", "--month", "2026-01", "--known-at", "{}"],
    ("statement", "--month"): ["statement", "1", "--month", "2026-02"],
    ("transactions", "--from"): ["transactions", "1", "--from", "{}"],
    ("transactions", "--to"): ["transactions", "1", "--to", "{}"],
    ("transactions", "--known-at"): ["transactions", "1", "--known-at", "{}"],
    ("watch", "--from"): ["watch", "--from", "{}"],
}

NO_TIMES = {
    *(
        "--why",
        "--restored",
        "--url",
        "--key",
        "amount",
        "--uuid",
        "--columns",
        "--map",
        "--deposit",
        "--withdraw",
        "--id",
    ),
    *("--delimiter", "name", "--scope", "--user", "--network", "--sink", "--host", "--name", "url"),
    *("--event-type", "--secret", "--state", "--event"),
}
"""Options and arguments that are text but not times."""

_DATE = re.compile(r"\d{4}-\d\d-\d\d.*", re.DOTALL)


def test_every_option_that_takes_a_time_is_tested_here() -> None:
    found = set()
    for name, command in EVERY.items():
        for parameter in command.params:
            kind = getattr(getattr(parameter, "type_descriptor", None), "annotation", None)
            if (kind is str or kind == list[str]) and parameter.opts[-1] not in NO_TIMES:
                found.add((name, parameter.opts[-1]))
    assert found == TIMES.keys()


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[list[str | datetime]]:
    """Yield a list of every time that leaves the command, as a service or a local function receives it."""
    seen: list[str | datetime] = []

    def reply(self: object, request: httpx.Request) -> httpx.Response:
        seen.extend(each for each in request.url.params.values() if _DATE.fullmatch(each))
        seen.extend(re.findall(r'"(\d{4}-\d\d-\d\d[^"]*)"', request.read().decode()))
        found = _answer(request.url.path)
        return httpx.Response(404 if found is None else 200, json=found, request=request)

    monkeypatch.setattr(httpx.HTTPTransport, "handle_request", reply)
    monkeypatch.setattr(export, "ExportFilter", _record_arguments(seen, ExportFilter))
    monkeypatch.setattr(relay, "rewind_sink", _record_arguments(seen, CommandError))
    monkeypatch.setattr(relay, "open_database", _NoDatabase)
    monkeypatch.setattr(keys, "parse_new_key_fields", _record_arguments(seen, _refuse))
    monkeypatch.setattr(backup, "Recovery", _record_arguments(seen, _refuse))
    monkeypatch.setattr(backup, "is_backup", lambda _: True)
    monkeypatch.setattr(clock, "load_time_zone", clock.load_time_zone.__wrapped__)
    monkeypatch.setenv("TZ", "America/New_York")
    monkeypatch.delenv("SALDO_TIMEZONE", raising=False)
    monkeypatch.setenv("SALDO_URL", "http://127.0.0.1:9")
    monkeypatch.chdir(tmp_path)
    yield seen


def _answer(path: str) -> Any:
    user = {"id": 1, "name": "a", "balance": "0.00", "created_at": "2026-01-01T00:00:00+00:00"}
    answers: dict[str, Any] = {
        "/v1/user/1": user,
        "/v1/user/1/balance": {
            "user_id": 1,
            "balance": "0.00",
            "date": None,
            "before": None,
            "known_at": None,
        },
        "/v1/user/1/transactions": {"items": [], "next_cursor": None},
    }
    return answers.get(path)


def _record_arguments(seen: list[str | datetime], then: Callable[..., Any]) -> Callable[..., Any]:
    def note(*arguments: Any) -> Any:
        for each in arguments:
            values = each.values() if isinstance(each, dict) else [each]
            seen.extend(x for x in values if isinstance(x, datetime))
            seen.extend(x for x in values if isinstance(x, str) and _DATE.fullmatch(x))
        return then(*arguments)

    return note


def _refuse(*_: object) -> None:
    raise InvalidRequestError([])


class _NoDatabase:
    def __init__(self, *_: object, **__: object) -> None:
        pass

    def __enter__(self) -> str:
        return ""

    def __exit__(self, *_: object) -> None:
        pass


@pytest.mark.parametrize(("command", "option"), sorted(TIMES))
def test_option_without_an_offset_is_in_the_commands_time_zone(
    moments: list[str | datetime], command: str, option: str
) -> None:
    Path(".env").write_text(f"SALDO_TIMEZONE={ZONE}\n")
    for text in TEXTS[:2]:
        moments.clear()
        words = [each.format(text) for each in TIMES[command, option]]
        done = CliRunner().invoke(build_app([words[0]]), words, prog_name="saldo")
        read = [x if isinstance(x, datetime) else datetime.fromisoformat(x) for x in moments]
        assert all(each.utcoffset() is not None for each in read), moments
        assert MIDNIGHT in read, (text, moments, done.output, done.exception)


@pytest.mark.parametrize("kind", ["csv", "ndjson", "parquet"])
def test_file_time_without_an_offset_is_in_the_importers_time_zone(
    saldo: Program, tmp_path: Path, kind: str
) -> None:
    (tmp_path / ".env").write_text(f"SALDO_TIMEZONE={ZONE}\n")
    user = saldo.user(f"zone {uuid4()}")
    lines = [(str(uuid4()), "DEPOSIT", "1", user, text) for text in TEXTS]
    file = tmp_path / f"times.{kind}"
    if kind == "csv":
        write_csv(file, lines)
    elif kind == "ndjson":
        rows = [dict(zip(COLUMNS, line, strict=True)) for line in lines]
        file.write_text("".join(f"{json.dumps(row)}\n" for row in rows))
    else:
        _write_parquet(file, user)
    found = saldo("import", file.name, "--json", directory=tmp_path).json
    listed = saldo("transactions", user, "--json").lines
    assert found["posted"] == len(listed) > 0
    assert {each["timestamp"] for each in listed} == {MIDNIGHT.isoformat()}


@pytest.mark.parametrize("kind", ["date32", "date64", "s", "ms", "us", "ns"])
def test_parquet_column_without_a_zone_is_in_the_importers_time_zone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, kind: str
) -> None:
    monkeypatch.setattr(clock, "load_time_zone", lambda: ZoneInfo(ZONE))
    file = tmp_path / "times.parquet"
    _write_parquet(file, "1", kind)
    mapping = parse_mapping((), signed=False, deposit="DEPOSIT", withdraw="WITHDRAW", identity=None)
    with open_row_file(file, Format.PARQUET, ",", ()) as table:
        (row,) = table.rows
        request = RowMapper(mapping, table.columns).build_request(row)
    assert request.timestamp == MIDNIGHT.isoformat()


def _write_parquet(file: Path, user: str, kind: str = "date32") -> None:
    arrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    column = getattr(arrow, kind)() if kind.startswith("date") else arrow.timestamp(kind)
    columns = {
        "uuid": [str(uuid4())],
        "type": ["DEPOSIT"],
        "amount": ["1"],
        "user_id": [int(user)],
        "timestamp": arrow.array([datetime(2026, 2, 1)]).cast(column),
    }
    parquet.write_table(arrow.table(columns), file)


def test_unreadable_time_is_rejected_locally() -> None:
    with pytest.raises(ValueError, match="must be a date and time"):
        clock.add_offset("1 February")
