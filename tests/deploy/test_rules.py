"""What is shipped for Prometheus and Grafana, held against itself: no service is needed."""

from __future__ import annotations

import json
import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml
from deploy.grafana import dashboard

from tests.deploy.prometheus import SHIPPED

ROOT = Path(__file__).parents[2]
GRAFANA = ROOT / "deploy" / "grafana"


def alerts() -> list[dict[str, Any]]:
    groups = yaml.safe_load((SHIPPED / "rules" / "alerts.yml").read_text())["groups"]
    return [rule for group in groups for rule in group["rules"]]


def anchors(path: Path) -> set[str]:
    """Of a page's headings, as they are made from their text."""
    headings = re.findall(r"^#+ +(.+)$", path.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def run(*command: str | Path) -> None:
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_promtool_accepts_configuration_and_rules(promtool: str) -> None:
    # Its syntax: the key is where it runs.
    run(promtool, "check", "config", "--syntax-only", SHIPPED / "prometheus.yml")
    run(promtool, "check", "rules", *(SHIPPED / "rules").glob("*.yml"))


@pytest.mark.parametrize(
    "path", sorted((SHIPPED / "tests").glob("*.yml")), ids=lambda path: path.stem
)
def test_alerts_fire_when_they_should(promtool: str, path: Path) -> None:
    run(promtool, "test", "rules", path)


@pytest.mark.parametrize("alert", alerts(), ids=lambda alert: alert["alert"])
class TestAlert:
    def test_says_who_is_called_and_what_to_do(self, alert: dict[str, Any]) -> None:
        assert alert["labels"]["severity"] in {"page", "ticket"}
        assert {"summary", "description", "runbook_url"} == set(alert["annotations"])
        page, _, anchor = alert["annotations"]["runbook_url"].partition("#")
        assert anchor == alert["alert"].lower()
        assert anchor in anchors(ROOT / page)

    def test_is_tried_both_ways(self, alert: dict[str, Any]) -> None:
        """It fires in one test, and stays silent in another or at another time."""
        checks = [
            check
            for path in (SHIPPED / "tests").glob("*.yml")
            for test in yaml.safe_load(path.read_text())["tests"]
            for check in test["alert_rule_test"]
            if check["alertname"] == alert["alert"]
        ]
        fires = [bool(check["exp_alerts"]) for check in checks]
        assert True in fires
        assert False in fires or any(_tells_apart(check) for check in checks)


def _tells_apart(check: dict[str, Any]) -> bool:
    """Fires for one of several: the test has others, for which it must not."""
    return any(
        {"instance", "webhook", "sink"} & set(each["exp_labels"]) for each in check["exp_alerts"]
    )


def test_the_dashboard_is_what_its_source_says() -> None:
    assert dashboard.PATH.read_text() == dashboard.text(), "run python -m deploy.grafana.dashboard"


def test_panels_say_what_they_show() -> None:
    for row in dashboard.ROWS.values():
        for panel in row:
            assert panel.description.endswith("."), panel.title
            assert panel.unit, panel.title
            assert all(query.legend for query in panel.queries), panel.title


def test_panels_fill_the_grid_without_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in json.loads(dashboard.text())["panels"]:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= dashboard.COLUMNS
        fields = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not fields & taken, panel["title"]
        taken |= fields


def test_what_the_database_tells_is_not_added_up() -> None:
    expressions = [
        query.expression
        for row in dashboard.ROWS.values()
        for panel in row
        for query in panel.queries
    ] + [alert["expr"] for alert in alerts()]
    for expression in expressions:
        if re.search(r"saldo_(sink|webhook|ledger|audit|seals)_", expression):
            assert not re.search(r"\b(sum|count|avg)\b(?!_over_time)", expression), expression


def test_provisioning_names_what_is_there() -> None:
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
