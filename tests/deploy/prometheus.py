"""A Prometheus of the tests' own, with the configuration that we ship: other targets, and less patience."""

from __future__ import annotations

import math
import os
import re
import shutil
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

from tests.faults.broker import free_ports

SHIPPED = Path(__file__).parents[2] / "deploy" / "prometheus"
METRICS_KEY = "a-metrics-key-of-the-tests-0123456789"
"""What it scrapes with."""

START_SECONDS_MAX = 60
POLL_SECONDS = 0.25


def find(program: str) -> str | None:
    """`prometheus` or `promtool`, from PATH or where Debian puts it."""
    return shutil.which(program) or shutil.which(program, path="/usr/bin")


@dataclass(frozen=True)
class Series:
    """Labels, and points of time (seconds since 1970) and value."""

    labels: Mapping[str, str]
    points: Sequence[tuple[float, float]]

    @property
    def value(self) -> float:
        return self.points[-1][1]


def derive(
    directory: Path,
    service_url: str,
    port: int,
    replaced: Mapping[str, tuple[str, str]] | None = None,
) -> Path:
    """The configuration as shipped, but: scraped every second, and alerts fire as soon as they may.

    Args:
        replaced: by alert, what stands in its expression, and what a test can wait for.
    """
    config = yaml.safe_load((SHIPPED / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    targets = {"saldo": urlsplit(service_url).netloc, "prometheus": f"127.0.0.1:{port}"}
    key = directory / "metrics-key"
    key.write_text(METRICS_KEY)
    for job in config["scrape_configs"]:
        if "authorization" in job:
            job["authorization"]["credentials_file"] = str(key)
        job["static_configs"] = [{"targets": [targets[job["job_name"]]]}]
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
    """The process, and what it is asked by its HTTP API."""

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
        """The values now."""
        found = self._ask("/api/v1/query", query=expression)
        assert found["resultType"] in {"vector", "scalar"}, expression
        if found["resultType"] == "scalar":
            return [Series({}, [_point(found["result"])])]
        return [Series(each["metric"], [_point(each["value"])]) for each in found["result"]]

    def query_range(self, expression: str, begin: float, end: float, step: float) -> list[Series]:
        """The values of a time span.

        Args:
            begin, end: seconds since 1970.
            step: seconds.
        """
        found = self._ask("/api/v1/query_range", query=expression, start=begin, end=end, step=step)
        return [Series(each["metric"], [*map(_point, each["values"])]) for each in found["result"]]

    def metrics(self) -> set[str]:
        """The names of all that was ever scraped or recorded."""
        return set(self._ask("/api/v1/label/__name__/values"))

    def firing(self) -> dict[str, list[dict[str, str]]]:
        """Alerts that fire now: their labels, by name."""
        alerts: dict[str, list[dict[str, str]]] = {}
        for alert in self._ask("/api/v1/alerts")["alerts"]:
            if alert["state"] == "firing":
                alerts.setdefault(alert["labels"]["alertname"], []).append(alert["labels"])
        return alerts

    def wait_for(
        self, satisfied: Callable[[], bool], what: str | Callable[[], str], seconds_max: float = 90
    ) -> None:
        """Asks until it is so; fails with what was expected."""
        deadline = time.monotonic() + seconds_max
        while not satisfied():
            assert self._process.poll() is None, self.output()
            assert time.monotonic() < deadline, what if isinstance(what, str) else what()
            time.sleep(POLL_SECONDS)

    def wait_until_firing(self, name: str, seconds_max: float = 90) -> list[dict[str, str]]:
        """The labels of the alerts of that name."""
        self.wait_for(
            lambda: name in self.firing(), lambda: f"{name}, not {self.firing()}", seconds_max
        )
        return self.firing()[name]

    def wait_until_silent(self, name: str, seconds_max: float = 90) -> None:
        """Until no alert of that name fires any more."""
        self.wait_for(lambda: name not in self.firing(), f"{name} goes on", seconds_max)

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
def prometheus(
    program: str,
    directory: Path,
    service_url: str,
    replaced: Mapping[str, tuple[str, str]] | None = None,
) -> Iterator[Prometheus]:
    """One that scrapes the service; see `derive`."""
    (port,) = free_ports(1)
    running = Prometheus(program, directory, derive(directory, service_url, port, replaced), port)
    try:
        running.wait_until_ready()
        yield running
    finally:
        running.end()


def substituted(expression: str) -> str:
    """A dashboard's query as Grafana sends it, everything chosen."""
    values = {"$__rate_interval": "10s", "$job": "saldo", "$instance": ".*"}
    text = re.sub(r"\$\w+", lambda found: values[found[0]], expression)
    assert "$" not in text, text
    return text


def _point(pair: Sequence[Any]) -> tuple[float, float]:
    return float(pair[0]), float(pair[1])


def has_value(series: Sequence[Series]) -> bool:
    """Whether there is a number among them."""
    return any(not math.isnan(each.value) for each in series)
