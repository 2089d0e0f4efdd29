"""The benchmarks: their requests have the expected outcomes, and the whole suite runs.

No times are checked here.
"""

from __future__ import annotations

import csv
import json
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import __main__ as suite
from benchmarks import machine
from benchmarks.load import ndjson, wrk
from benchmarks.load.ndjson import Answer, StreamError
from benchmarks.load.workload import Body, Workload, body_of, generate
from benchmarks.results import capacity, plots, report, summary
from benchmarks.results.readme import replace_tables
from benchmarks.results.report import Row, Series, Target
from benchmarks.scenarios import distributed, events
from harness.program.service import ServiceProcess, run_service_process
from saldo.ledger.model import TransactionRequest
from saldo.ledger.money import AMOUNT_MAX
from saldo.ledger.specification import SpecifiedLedger
from saldo.parsing.transactions import ParserOptions, parse_transaction

NOW = datetime(2026, 1, 1, tzinfo=UTC)
READING = ParserOptions(zone=UTC, decimals=2, amount_max_minor=AMOUNT_MAX, name_length_max=200)

shares = st.sampled_from([0.0, 0.1, 0.3])
workloads = st.builds(
    Workload,
    lines=st.integers(0, 300),
    users=st.integers(1, 20),
    first_user=st.integers(1, 1000),
    spread=st.sampled_from(["uniform", "hot", "zipf"]),
    uuid_version=st.sampled_from([4, 7]),
    refusals=shares,
    replays=shares,
    late=shares,
    history=st.just(timedelta(days=365)),
    ends_at=st.just(NOW),
    seed=st.integers(0, 2**32),
)


def requests_of(workload: Workload) -> list[TransactionRequest]:
    return [parse_transaction(line.text.encode(), None, READING) for line in generate(workload)]


def test_page_lists_the_subjects() -> None:
    page = Path("docs/benchmarks/README.md").read_text()
    sentence = page.partition("The subjects for `--only` are ")[2].partition(".")[0]
    assert re.findall(r"`(\w+)`", sentence) == list(suite.SUBJECTS)
    commands = re.findall(r"--only ([\w ]+)", page)
    assert commands
    assert set(" ".join(commands).split()) <= set(suite.SUBJECTS)


@settings(deadline=None)  # no times are checked here
@given(workloads)
def test_lines_have_the_outcomes_that_the_rules_give_them(workload: Workload) -> None:
    ledger = SpecifiedLedger()
    for user_id in range(workload.first_user, workload.first_user + workload.users):
        ledger.create_user(user_id, uuid4(), NOW)
    decisions = ledger.post(requests_of(workload), NOW)
    found = [(decision.outcome.name.lower(), decision.replayed) for decision in decisions]
    assert found == [line.outcome for line in generate(workload)]


@settings(deadline=None)  # no times are checked here
@given(workloads)
def test_seed_determines_the_workload_and_its_uuids(workload: Workload) -> None:
    lines = list(generate(workload))
    assert lines == list(generate(workload))
    assert body_of(workload).outcomes == Counter(line.outcome for line in lines)
    uuids = {request.uuid for request in requests_of(workload)}
    assert len(uuids) == sum(not line.outcome[1] for line in lines)
    other = replace(workload, seed=workload.seed + 1)
    assert uuids.isdisjoint(request.uuid for request in requests_of(other))


@settings(deadline=None)  # no times are checked here
@given(workloads)
def test_uuids_have_the_requested_version_and_version_7_ascends(
    workload: Workload,
) -> None:
    lines = generate(replace(workload, replays=0.0))
    uuids = [UUID(json.loads(line.text)["uuid"]) for line in lines]
    assert {uuid.version for uuid in uuids} <= {workload.uuid_version}
    assert {uuid.variant for uuid in uuids} <= {"specified in RFC 4122"}
    if workload.uuid_version == 7:
        assert all(before < after for before, after in pairwise(uuids))


def test_workload_has_the_requested_shares() -> None:
    workload = Workload(
        lines=50_000, users=100, refusals=0.1, replays=0.05, late=0.2, withdrawals=0.3,
        history=timedelta(days=365), ends_at=NOW,
    )  # fmt: skip
    outcomes = body_of(workload).outcomes
    refused = outcomes["insufficient_funds", False]
    replayed = outcomes["posted", True] + outcomes["insufficient_funds", True]
    requests = requests_of(replace(workload, replays=0.0, refusals=0.0))
    withdrawn = sum(request.amount < 0 for request in requests)
    late = late_share(replace(workload, replays=0.0, refusals=0.0))
    found = [refused / 50_000, replayed / 50_000, withdrawn / 50_000, late]
    assert found == pytest.approx([0.1, 0.05, 0.3, 0.2], abs=0.02)


def late_share(workload: Workload) -> float:
    """Return the share of late lines, by the horizons that the lines themselves set; check their lateness, too."""
    horizons: dict[int, datetime] = {}
    late = 0
    for request in requests_of(workload):
        assert request.timestamp is not None
        horizon = horizons.setdefault(request.user_id, request.timestamp)
        if request.timestamp < horizon:
            late += 1
            assert horizon - request.timestamp <= workload.late_by
        horizons[request.user_id] = max(horizon, request.timestamp)
    return late / workload.lines


def test_traffic_is_distributed_over_users_as_requested() -> None:
    def count_requests(spread: str) -> list[int]:
        workload = Workload(lines=20_000, users=100, first_user=7, spread=spread)  # type: ignore[arg-type]
        users = Counter(request.user_id for request in requests_of(workload))
        assert users.keys() <= set(range(7, 107))
        return [count for _, count in users.most_common()]

    assert count_requests("hot") == [20_000]
    uniform, zipf = count_requests("uniform"), count_requests("zipf")
    assert (len(uniform), uniform[0] < 2 * uniform[-1]) == (100, True)
    assert zipf[0] / zipf[9] == pytest.approx(10, rel=0.3)


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ServiceProcess]:
    with run_service_process(tmp_path_factory.mktemp("service")) as process:
        yield process


def test_the_client_of_streams_checks_a_real_stream(shared_service: ServiceProcess) -> None:
    """Send a stream for users who do not exist, whose answers are known without a ledger."""
    body = body_of(Workload(lines=5000, users=10, first_user=1000))
    answer = ndjson.send(shared_service.url, body.data)
    assert ndjson.check(answer, body.data) == {("user_not_found", False): 5000}
    assert answer.seconds > 0


def test_missing_swapped_or_invented_answer_lines_are_rejected() -> None:
    body = body_of(Workload(lines=3, users=1))
    lines = [
        b'{"line":%d,"code":"posted","uuid":"%s"}\n' % (number, line[9:45])
        for number, line in enumerate(body.data.splitlines(), start=1)
    ]
    swapped = [lines[1], lines[0], lines[2]]
    renumbered = [line.replace(b":2", b":1") for line in lines]
    assert ndjson.check(_answer(lines), body.data) == {("posted", False): 3}
    for wrong in (lines[:2], swapped, renumbered, [*lines[:2], lines[1]], [*lines, lines[2]]):
        with pytest.raises(StreamError):
            ndjson.check(_answer(wrong), body.data)
    with pytest.raises(StreamError, match="breaks off"):
        ndjson.check(Answer(1.0, _answer(lines).data[:-5]), body.data)


def _answer(lines: list[bytes]) -> Answer:
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(line), line) for line in lines)
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return Answer(1.0, head + chunks + b"0\r\n\r\n")


def test_a_target_is_met_by_the_figure_and_by_its_ratio_to_the_limit() -> None:
    target = Target(at_least=10, ratio_at_least=0.5)
    assert target.text("/s") == "≥ 10.0 /s, ratio ≥ 0.5"
    assert target.is_met(10, 0.5) is True
    assert (target.is_met(9, 0.5), target.is_met(10, 0.4)) == (False, False)
    assert target.is_met(10, None) is None
    assert (Target(at_most=5).is_met(5, None), Target(at_most=5).is_met(6, None)) == (True, False)
    row = Row("name", Series([1, 30, 4]), "ms", "limit", 2.0, Target(ratio_at_most=3))
    record = report.record("subject", row, {"commit": "c"})
    assert (record["measured"], record["ratio"], record["met"]) == ("4.00", "2.00", "yes")
    assert (record["low"], record["high"], record["commit"]) == ("1.00", "30.0", "c")


def test_without_wrk_one_line_says_what_to_do(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(wrk, "is_installed", lambda: False)
    suite.main(["--only", "single", "reads"])
    assert capsys.readouterr().err == f"{wrk.MISSING}\n"
    assert "apt-get install wrk" in wrk.MISSING


@pytest.mark.long
@pytest.mark.timeout(900)
def test_the_suite_runs(tmp_path: Path) -> None:
    """Run the whole suite at the smallest scale, which still takes some minutes."""
    command = [sys.executable, "-m", "benchmarks", "--scale", "tiny", "--output", str(tmp_path)]
    done = subprocess.run(command, cwd=machine.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    with (tmp_path / "tiny.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert json.loads((tmp_path / "tiny.json").read_text("utf-8")) == rows
    wanted = set(suite.SUBJECTS) - (set() if wrk.is_installed() else suite.NEEDS_WRK)
    if not distributed.is_available():
        wanted -= {"distributed"}
    if not events.is_available():
        wanted -= {"events"}
    assert {row["subject"] for row in rows} == wanted
    # Some effects of overload should not occur; and the smallest import may be sealed before the age of its entries is
    # measured the first time.
    none = {row["name"] for row in rows if not float(row["measured"]) > 0}
    none -= {row["name"] for row in rows if row["subject"] == "overload"}
    assert all(name.endswith("greatest age of an entry without a seal") for name in none)
    assert {row["met"] for row in rows if row["target"]} <= {"yes", "no"}
    assert {row["met"] for row in rows if not row["target"]} == {""}
    names = [row["name"] for row in rows]
    assert len(set(names)) == len(names)
    if plots.MISSING not in done.stderr:
        assert (tmp_path / "growth.png").stat().st_size > 10_000


def test_partial_run_keeps_the_rows_of_other_subjects() -> None:
    old = [{"subject": "bulk", "name": "1"}, {"subject": "dates", "name": "2"}]
    new = [{"subject": "single", "name": "3"}, {"subject": "bulk", "name": "4"}]
    merged = report.merge(old, new, ["single", "bulk", "dates"])
    assert [row["name"] for row in merged] == ["3", "4", "2"]


@pytest.mark.parametrize("name", ["README.md", "README.ru.md", "docs/benchmarks/README.md"])
def test_tables_in_the_documentation_are_those_of_the_files(name: str) -> None:
    text = (machine.ROOT / name).read_text("utf-8")
    kind = "benchmarks" if name.startswith("docs/") else "speed"
    assert f"<!-- {kind}:" in text
    assert replace_tables(text, machine.ROOT / "docs" / "benchmarks") == text


def test_summary_has_six_rows_and_all_of_them_are_measured() -> None:
    rows = report.read(machine.ROOT / "docs" / "benchmarks" / "full.csv")
    for language in ("en", "ru"):
        table = summary.table(rows, language)
        assert len(re.findall(r"^\| ", table, re.MULTILINE)) == 1 + 6
        assert summary.NOT_MEASURED not in table
        assert {row["commit"] for row in rows if row["commit"] in table}


def test_summary_shows_figures_of_the_language_and_a_dash_for_missing_ones() -> None:
    row = report.record(
        "single",
        Row("single POST, 64 connections, with a key", Series([19_603.0]), "/s"),
        {"date": "2026-01-01T00:00:00Z", "commit": "c0ffee", "machine": "a machine"},
    )
    english, russian = (summary.table([row], language) for language in ("en", "ru"))
    assert "| 19,603 /s; – |" in english
    assert "| 19\N{NO-BREAK SPACE}603 /с; – |" in russian
    assert english.endswith("\n\n2026-01-01, commit c0ffee: a machine.\n")


def test_mark_of_the_summary_is_filled_in_its_language(tmp_path: Path) -> None:
    report.write(tmp_path / "full", report.read(machine.ROOT / "docs/benchmarks/full.csv"))
    text = "a <!-- speed:full ru -->\nold\n<!-- end --> b"
    filled = replace_tables(text, tmp_path)
    assert filled.startswith("a <!-- speed:full ru -->\n\n| сервис")
    assert filled.endswith("\n\n<!-- end --> b")
    assert replace_tables(filled, tmp_path) == filled


def test_an_empty_workload_is_empty() -> None:
    assert body_of(Workload(lines=0, users=1)) == Body(b"\n", Counter())


def test_cluster_model_reproduces_its_inputs_and_scales() -> None:
    rows = [
        {"name": f"distributed: {load}, 2 workers, 4 lanes to each{figure}", "measured": str(value)}
        for load, *values in (
            ("single POST, 64 connections", 1300, 2.0, 1000, 10, 250),
            ("bulk", 12_000, 32.0, 125, 1, 25),
        )
        for figure, value in zip(
            ("", ": transactions in a call", ": workers", ": coordinator", ": service"),
            values,
            strict=True,
        )
    ]
    runs = capacity.runs_of([*rows, {"name": "distributed: bulk, plain", "measured": "1"}])
    assert [(run.connections, run.lanes, run.direct) for run in runs] == [
        (64, 8, True),
        (None, 8, True),
    ]
    cost = capacity.CallCost(runs)
    # The cost is 2,000 µs for 2 and 4,000 µs for 32, so it grows by half for each fourfold.
    assert [round(cost.estimate(size)) for size in (2, 8, 32)] == [2000, 2828, 4000]
    assert capacity.requests_in_call(4, 8) == 1
    assert capacity.requests_in_call(400, 8) == 10
    of = {
        workers: capacity.limits(capacity.Cluster(workers, services=4), 64, runs)
        for workers in (1, 2)
    }
    assert of[2].workers == pytest.approx(2 * of[1].workers)
    assert of[1].services == 4 / 250e-6
    assert capacity.capacity_of(capacity.Cluster(64), 10_000_000, runs) == 1 / 250e-6
