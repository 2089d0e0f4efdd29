"""All metrics of all worker processes, in Prometheus' formats."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple, Protocol

from prometheus_client import CollectorRegistry, ProcessCollector
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import REGISTRY


class Collector(Protocol):
    """Something that has metrics."""

    def collect(self) -> Iterable[Metric]: ...


class Exposition(NamedTuple):
    """What a scrape gets."""

    body: bytes
    content_type: str


def exposition(
    accept: str, version: str, figures: Collector, *, several_processes: bool
) -> Exposition:
    """The text of a scrape, in the format that it accepts.

    Args:
        accept: the request's header; OpenMetrics is there for who asks.
        figures: what the processes don't count themselves.
    """
    registry: Any = REGISTRY
    if several_processes:
        registry = CollectorRegistry()
        MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        # Of the worker that is asked: the files of the others hold no such thing.
        ProcessCollector(registry=registry)
    encode, content_type = choose_encoder(accept)
    return Exposition(encode(_Together([registry, figures, _Build(version)])), content_type)


class _Together:
    """One registry of several, as far as an encoder asks."""

    def __init__(self, collectors: Iterable[Collector]) -> None:
        self._collectors = [*collectors]

    def collect(self) -> Iterator[Metric]:
        for each in self._collectors:
            yield from each.collect()


class _Build:
    """Which Saldo, on which Python."""

    def __init__(self, version: str) -> None:
        self._version = version

    def collect(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("saldo_build_info", "1.", labels=["version", "python"])
        info.add_metric([self._version, platform.python_version()], 1)
        yield info
