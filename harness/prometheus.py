"""A Prometheus for tests, with the shipped configuration but other targets and shorter times."""

from __future__ import annotations

import math
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import yaml

from harness import prerequisites
from harness.ports import find_free_ports
from harness.repository import ROOT

SHIPPED = ROOT / "deploy" / "prometheus"
METRICS_KEY = "a-metrics-key-of-the-tests-0123456789"
"""Key with which Prometheus scrapes."""

START_SECONDS_MAX = 60
POLL_SECONDS = 0.25


def find(program: str) -> str | None:
    """Return the path of `prometheus` or `promtool`, from PATH or from Debian's directory."""
    return prerequisites.find_program(program, "prometheus") or prerequisites.find_program(
        program, "prometheus", path="/usr/bin"
    )


@dataclass(frozen=True)
class Series:
    """A time series: its labels, and its points. A point is a time (in seconds since 1970) and a value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        return self.points[-1][1]


def write_configuration(
    directory: Path,
    target_url: str,
    port: int,
    replaced: Mapping[str, tuple[str, str]] | None = None,
    job_name: str = "saldo",
) -> Path:
    """Write the shipped configuration, changed to scrape every second and to fire alerts as early as possible.

    Args:
        replaced: by the name of an alert, a part of its expression and the text that replaces it. A test can then wait
            for the alert.
        job_name: another name of the service's job, as in an operator's own Prometheus.
    """
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"saldo": urlsplit(target_url).netloc, "prometheus": f"127.0.0.1:{port}"}
    key = directory / "metrics-key"
    key.write_text(METRICS_KEY)
    config["scrape_configs"] = [
        job for job in config["scrape_configs"] if job["job_name"] in targets
    ]
    for job in config["scrape_configs"]:
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(key)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
        if job["job_name"] == "saldo":
            job["job_name"] = job_name
    (directory / "rules").mkdir()
    missing = dict(replaced or {})
    for path in (SHIPPED / "rules").glob("*.yml"):
        rules = yaml.safe_load(path.read_text())
        for group in rules["groups"]:
            group.pop("interval", None)
            for rule in group["rules"]:
                rule.pop("for", None)
                old, new = missing.pop(rule.get("alert"), ("", ""))
                assert old in rule["expr"]
                if old:
                    rule["expr"] = rule["expr"].replace(old, new)
        (directory / "rules" / path.name).write_text(yaml.safe_dump(rules))
    assert not missing, missing
    path = directory / "prometheus.yml"
    path.write_text(yaml.safe_dump(config))
    return path


class Prometheus:
    """The process, and queries over its HTTP API."""

    def __init__(self, program: str, directory: Path, config: Path, port: int) -> None:
        self._log = directory / "prometheus.log"
        self.url = f"http://127.0.0.1:{port}"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    f"--config.file={config}",
                    f"--storage.tsdb.path={directory / 'tsdb'}",
                    f"--web.listen-address=127.0.0.1:{port}",
                ],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._client = httpx.Client(base_url=self.url, timeout=10)

    def wait_until_ready(self) -> None:
        self.wait_for(self._is_ready, "Prometheus", START_SECONDS_MAX)

    def query(self, expression: str) -> list[Series]:
        """Return the current values."""
        found = self._ask("/api/v1/query", query=expression)
        assert found["resultType"] in {"vector", "scalar"}, expression
        if found["resultType"] == "scalar":
            return [Series({}, [_point(found["result"])])]
        return [Series(each["metric"], [_point(each["value"])]) for each in found["result"]]

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """Return the values of a time span.

        Args:
            begin, end: seconds since 1970.
            step: seconds.
        """
        found = self._ask("/api/v1/query_range", query=expression, start=begin, end=end, step=step)
        return [Series(each["metric"], [*map(_point, each["values"])]) for each in found["result"]]

    def metrics(self) -> set[str]:
        """Return the names of all metrics that were ever scraped or recorded."""
        return set(self._ask("/api/v1/label/__name__/values"))

    def firing_alerts(self) -> dict[str, list[dict[str, str]]]:
        """Return the labels of the alerts that are firing now, by the name of the alert."""
        alerts: dict[str, list[dict[str, str]]] = {}
        for alert in self._ask("/api/v1/alerts")["alerts"]:
            if alert["state"] == "firing":
                alerts.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return alerts

    def wait_for(
        self, satisfied: Callable[[], bool], what: str | Callable[[], str], seconds_max: float = 90
    ) -> None:
        """Poll until the condition is true; fail with a description of what was expected."""
        deadline = time.monotonic() + seconds_max
        while not satisfied():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, what if isinstance(what, str) else what()
            time.sleep(POLL_SECONDS)

    def wait_until_firing(self, name: str, seconds_max: float = 90) -> list[dict[str, str]]:
        """Wait until the alert fires, and return the labels of its instances."""
        self.wait_for(
            lambda: name in self.firing_alerts(),
            lambda: f"{name}, not {self.firing_alerts()}",
            seconds_max,
        )
        return self.firing_alerts()[name]

    def wait_until_silent(self, name: str, seconds_max: float = 90) -> None:
        """Wait until no alert of that name fires any more."""
        self.wait_for(lambda: name not in self.firing_alerts(), f"{name} goes on", seconds_max)

    def output(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def end(self) -> None:
        self._client.close()
        if self._process.poll() is None:
            os.kill(self._process.pid, signal.SIGTERM)
        self._process.wait(60)

    def _is_ready(self) -> bool:
        try:
            return self._client.get("/-/ready").status_code == 200
        except httpx.TransportError:
            return False

    def _ask(self, path: str, **parameters: Any) -> Any:
        answer = self._client.get(path, params=parameters).json()
        assert answer["status"] == "success", (answer, parameters)
        return answer["data"]


@contextmanager
def run_prometheus(
    program: str,
    directory: Path,
    target_url: str,
    replaced: Mapping[str, tuple[str, str]] | None = None,
    job_name: str = "saldo",
) -> Iterator[Prometheus]:
    """Yield a Prometheus that scrapes the service; see `write_configuration`."""
    (port,) = find_free_ports(1)
    config = write_configuration(directory, target_url, port, replaced, job_name)
    running = Prometheus(program, directory, config, port)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()


def substitute_variables(expression: str, window: str = "10s", job_name: str = "saldo") -> str:
    """Return a dashboard's query as Grafana sends it with everything selected.

    Args:
        window: the interval of rates.
    """
    values = {"$__rate_interval": window, "$job": job_name, "$instance": ".*"}
    text = re.sub(r"\$\w+", lambda found: values[found[0]], expression)
    assert "$" not in text, text
    return text


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def has_value(series: Sequence[Series]) -> bool:
    """Return whether any of the series has a number."""
    return any(not math.isnan(each.value) for each in series)
