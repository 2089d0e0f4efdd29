"""The suite's report: what its tables say, and where they go."""

from __future__ import annotations

from pathlib import Path

from torture.nemesis import Happened
from torture.report import Summary

from torture import nemesis, report

HAPPENED = [
    Happened("disk full", "server a", "", 10.0, 12.0, 0.5, 2.0, 1.5),
    Happened("disk full", "server a", "", 20.0, 22.0, 1.5, 4.0, 3.5),
    Happened("disk full", "server a", "service killed", 30.0, 32.0, 90.0, 90.0, 90.0),
    Happened("service killed", "service one", "disk full", 30.0, 33.0, None, None, 0.0),
]
SUMMARY = Summary(
    "7", 60.0, "2 cores", 1200, {"Post 200": 1199, "Post unanswered": 3}, {"queue": 1300}, {}, 0
)


def test_times_are_of_faults_that_came_alone_where_there_are_any() -> None:
    *_, disk, service = report.recovery(HAPPENED).splitlines()
    assert disk == "| disk full | 3 | 1.00 s | 1.50 s | 3.50 s | 3.00 s |"
    assert service == "| service killed | 1 | never | never | 0.00 s | never |"


def test_the_tables_of_the_page_are_written_again_and_nothing_else(tmp_path: Path) -> None:
    nemesis.write(HAPPENED, tmp_path)
    report.save(SUMMARY, tmp_path)
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- torture:totals -->\nold\n<!-- end -->\n\nAfter.\n")
    report.render(tmp_path, page)
    once = page.read_text()
    assert once.startswith("Before.\n\n<!-- torture:totals -->\n")
    assert once.endswith("<!-- end -->\n\nAfter.\n")
    assert "| faults | 4, of 2 kinds |" in once
    assert "1,202: 1,199 200, 3 unanswered" in once
    assert "old" not in once
    report.render(tmp_path, page)
    assert page.read_text() == once


def test_the_page_of_the_project_has_every_table() -> None:
    found = {match["table"] for match in report.MARKS.finditer(report.PAGE.read_text("utf-8"))}
    assert found == {"origin", "recovery", "totals"}
