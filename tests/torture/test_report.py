"""The suite's report: the content of its tables, and their places in the page."""

from __future__ import annotations

from pathlib import Path

from torture import nemesis, report
from torture.nemesis import InjectedFault
from torture.report import Summary

HAPPENED = [
    InjectedFault("disk full", "server a", "", 10.0, 12.0, 0.5, 2.0, 1.5),
    InjectedFault("disk full", "server a", "", 20.0, 22.0, 1.5, 4.0, 3.5),
    InjectedFault("disk full", "server a", "service killed", 30.0, 32.0, 90.0, 90.0, 90.0),
    InjectedFault("service killed", "service one", "disk full", 30.0, 33.0, None, None, 0.0),
]
SUMMARY = Summary(
    "7", 60.0, "2 cores", 1200, {"Post 200": 1199, "Post unanswered": 3}, {"queue": 1300}, {}, 0
)


def test_times_are_those_of_faults_that_ran_alone_if_any() -> None:
    *_, disk, service = report.recovery_table(HAPPENED).splitlines()
    assert disk == "| disk full | 3 | 1.00 s | 1.50 s | 3.50 s | 3.00 s |"
    assert service == "| service killed | 1 | never | never | 0.00 s | never |"


def test_render_replaces_only_the_tables_of_the_page(tmp_path: Path) -> None:
    nemesis.write(HAPPENED, tmp_path)
    report.save(SUMMARY, tmp_path)
    page = tmp_path / "page.md"
    page.write_text("Before.\n\n<!-- torture:totals -->\nold\n<!-- end -->\n\nAfter.\n")
    report.render(tmp_path, page)
    once = page.read_text()
    assert once.startswith("Before.\n\n<!-- torture:totals -->\n")
    assert once.endswith("<!-- end -->\n\nAfter.\n")
    assert "| faults | 4, of 2 kinds |" in once
    assert "1,202 (200: 1,199; unanswered: 3)" in once
    assert "old" not in once
    report.render(tmp_path, page)
    assert page.read_text() == once


def test_documentation_page_has_every_table() -> None:
    found = {
        match["table"] for match in report.TABLE_MARKERS.finditer(report.PAGE.read_text("utf-8"))
    }
    assert found == {"origin", "recovery", "totals"}
