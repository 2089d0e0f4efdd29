"""Consistency of the files shipped for Prometheus and Grafana, checked without a service."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from deploy.grafana import dashboard
from harness.prometheus import SHIPPED

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"
SERVED_AT = "https://saldo.example/docs"
"""Base URL of the runbook links in the shipped rules, which an operator replaces."""


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((SHIPPED / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def anchors(path: Path) -> set[str]:
    """Return the anchors of a page's headings."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_configuration_and_rules(promtool: str) -> None:
    # Only the syntax is checked, because the key's file exists only where Prometheus runs.
    run(promtool, "check", "config", "--syntax-only", SHIPPED / "prometheus.yml")
    run(promtool, "check", "rules", *(SHIPPED / "rules").glob("*.yml"))


@pytest.mark.parametrize(
    "path", sorted((SHIPPED / "tests").glob("*.yml")), ids=lambda path: path.stem
)
def test_alerts_fire_when_they_should(promtool: str, path: Path) -> None:
    run(promtool, "test", "rules", path)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
class TestAlert:
    def test_alert_has_a_severity_and_a_runbook(self, alert: dict[str, Any]) -> None:
        allowed = {"none"} if alert["alert"] == "SaldoWatchdog" else {"page", "ticket"}
        assert alert["labels"]["severity"] in allowed
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
        url, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        # The URL is absolute because it is read in a chat or a mail; the pages are served as `python -m website` builds
        # them.
        assert url.startswith(f"{SERVED_AT}/")
        page = url.removeprefix(SERVED_AT).replace(".html", ".md")
        assert anchor == alert["alert"].lower()
        assert anchor in anchors(ROOT / f"docs{page}")

    def test_alert_is_tested_firing_and_silent(self, alert: dict[str, Any]) -> None:
        """Check that each alert fires in one test, and stays silent in another test or at another time."""
        checks = [
            check
            for path in (SHIPPED / "tests").glob("*.yml")
            for test in yaml.safe_load(path.read_text())["tests"]
            for check in test["alert_rule_test"]
            if check["alertname"] == alert["alert"]
        ]
        fires = [bool(check["exp_alerts"]) for check in checks]
        assert True in fires
        if alert["alert"] == "SaldoWatchdog":
            return  # it is never silent
        assert False in fires or any(_tells_apart(check) for check in checks)


def _tells_apart(check: dict[str, Any]) -> bool:
    """Return whether the alert fires for one of several instances; the test has others, for which it must not."""
    return any(
        {"instance", "webhook", "sink"} & set(each["exp_labels"]) for each in check["exp_alerts"]
    )


def test_dashboard_file_is_up_to_date() -> None:
    assert dashboard.PATH.read_text() == dashboard.text(), "run python -m deploy.grafana.dashboard"


def test_panels_have_descriptions() -> None:
    for row in dashboard.ROWS.values():
        for panel in row:
            assert panel.description.endswith("."), panel.title
            assert panel.unit, panel.title
            assert all(query.legend for query in panel.queries), panel.title


def test_rows_below_the_first_are_collapsed_and_graphs_have_tables_as_legends() -> None:
    made = json.loads(dashboard.text())
    rows = [panel for panel in made["panels"] if panel["type"] == "row"]
    assert [row["collapsed"] for row in rows] == [False] + [True] * (len(rows) - 1)
    assert all(bool(row["panels"]) == row["collapsed"] for row in rows)
    for panel in _panels(made):
        if panel["type"] == "timeseries":
            assert panel["options"]["legend"]["displayMode"] == "table"
            assert panel["options"]["legend"]["calcs"] == ["mean", "max"]


def test_first_row_has_something_to_show_when_idle() -> None:
    for panel in dashboard.ROWS["Overview"]:
        if panel.kind == "stat":
            assert panel.decimals is not None, panel.title
            assert panel.no_value or "vector(0)" in panel.queries[0].text, panel.title


def test_posted_and_refused_transactions_are_not_in_one_stack() -> None:
    for row in dashboard.ROWS.values():
        for panel in row:
            if panel.stacked:
                assert not any("saldo_transactions_total" in q.text for q in panel.queries) or all(
                    'outcome!="posted"' in query.text for query in panel.queries
                ), panel.title


def _panels(made: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the panels of all rows, without the rows themselves."""
    return [
        panel
        for top in made["panels"]
        for panel in (top, *top.get("panels", ()))
        if panel["type"] != "row"
    ]


def test_panels_work_in_a_prometheus_without_our_rules_and_with_other_jobs() -> None:
    """Check that no query needs a recorded metric, and that each is limited to the selected job."""
    for row in dashboard.ROWS.values():
        for panel in row:
            for query in panel.queries:
                assert not re.search(r"\bjob:", query.text), panel.title
                if panel.exporter:
                    continue  # its metrics have the job of that exporter
                selectors = re.findall(
                    r"\{[^{}]*\}|\b(?:saldo|process)_\w+\b(?!\{)|\bup\b(?!\{)", query.text
                )
                assert selectors, panel.title
                assert all(
                    'job="$job"' in selector or '"|saldo-probe"' in selector
                    for selector in selectors
                ), query.text
    assert 'job="$job"' in json.loads(dashboard.text())["annotations"]["list"][0]["expr"]


def test_shares_compared_with_an_objective_have_two_decimals() -> None:
    """Check the decimals: 0.9985 misses 99.9 %, and 0.9995 is not 100 %."""
    for row in dashboard.ROWS.values():
        for panel in row:
            if panel.kind == "stat" and "objective" in panel.description:
                assert panel.decimals == 2, panel.title
                assert panel.no_value, panel.title


def test_panels_fill_the_grid_without_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    made = json.loads(dashboard.text())
    rows = [panel for panel in made["panels"] if panel["type"] == "row"]
    for panel in (*rows, *_panels(made)):
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= dashboard.COLUMNS
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken, panel["title"]
        taken |= fields


def test_database_metrics_are_not_summed_over_instances() -> None:
    expressions = [
        query.expression
        for row in dashboard.ROWS.values()
        for panel in row
        for query in panel.queries
    ] + [alert["expr"] for alert in alerts()]
    for expression in expressions:
        if re.search(r"saldo_(sink|webhook|ledger|audit|seals|heads)_", expression):
            assert not re.search(r"\b(sum|count|avg)\b(?!_over_time)", expression), expression


def test_provisioning_names_existing_files() -> None:
    (source,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "datasources" / "prometheus.yml").read_text()
    )["datasources"]
    (provider,) = yaml.safe_load(
        (GRAFANA / "provisioning" / "dashboards" / "saldo.yml").read_text()
    )["providers"]
    scraped = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    assert source["type"] == "prometheus"
    assert source["jsonData"]["timeInterval"] == scraped["global"]["scrape_interval"]
    assert provider["type"] == "file"
