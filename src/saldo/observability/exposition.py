"""The metrics of all worker processes, in the formats of Prometheus."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from prometheus_client import CollectorRegistry
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY

from saldo.observability.process_metrics import ProcessesCollector


class Collector(Protocol):
    """A source of metrics."""

    def collect(self) -> Iterable[Metric]: ...


class Exposition(NamedTuple):
    """The response to a scrape."""

    body: bytes
    content_type: str


def render_metrics(
    accept: str,
    version: str,
    collector: Collector,
    *,
    has_several_workers: bool,
    wakeup_path: Path | None,
) -> Exposition:
    """Return the metrics in the format that the scraper accepts.

    Args:
        accept: the Accept header of the request. OpenMetrics is used if the header asks for it.
        collector: metrics that are not counted by the processes but queried from the database.
        wakeup_path: the wakeup socket of the relay's process; None if the service has no such process.
    """
    registry: Any = REGISTRY
    if has_several_workers:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    processes = ProcessesCollector(wakeup_path, has_several_workers=has_several_workers)
    try:
        encode, content_type = choose_encoder(accept)
    except (TypeError, ValueError):  # the library raises these for a malformed version
        encode, content_type = choose_encoder("")
    return Exposition(
        encode(_CombinedCollector([registry, processes, collector, _BuildInfoCollector(version)])),
        content_type,
    )


class _CombinedCollector:
    """A collector that combines the metrics of several collectors. Families of the same name are merged, because the
    format allows each family only once."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._collectors = [*collectors]

    def collect(self) -> Iterator[Metric]:
        families: dict[str, Metric] = {}
        for each in self._collectors:
            for metric in each.collect():
                if metric.name in families:
                    families[metric.name].samples += metric.samples
                else:
                    families[metric.name] = metric
        yield from families.values()


class _BuildInfoCollector:
    """A metric with the versions of Saldo and Python."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily(
            "saldo_build_info",
            "Versions of Saldo and Python, as labels; the value is always 1.",
            labels=["version", "python"],
        )
        info.add_metric([self._version, platform.python_version()], 1)
        yield info
