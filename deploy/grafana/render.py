"""Generator of pictures of the dashboard, one per row, from a real Prometheus that scrapes Saldo under load.

It is run manually with `python -m deploy.grafana.render`, and needs matplotlib (extra `bench`), prometheus and
rabbitmq-server.
"""

from __future__ import annotations

import argparse
import asyncio
import math
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import matplotlib as mpl
from matplotlib import pyplot
from matplotlib.ticker import EngFormatter

from deploy.grafana.dashboard import ROWS, Panel, Query
from harness import prometheus
from harness.events import rabbitmq
from harness.events.webhook_receiver import run_receiver
from harness.mixed_load import run_load
from harness.program.service import run_service_process
from saldo.store.embedded import EmbeddedServer

PICTURES = Path(__file__).parents[2] / "docs" / "howto" / "monitor"
STEP_SECONDS = 2
PAUSE_SECONDS = 0.25
"""Pause in seconds of a client between requests, which leaves CPU time to Prometheus and the broker."""
SETTINGS = {
    "SALDO_WEBHOOK_ALLOW_PRIVATE": "true",
    "SALDO_WEBHOOK_ALLOW_HTTP": "true",
    "SALDO_RELAY_LEASE_SECONDS": "2",
    "SALDO_WORKERS": "2",
}
COLOURS = {"green": "tab:green", "yellow": "goldenrod", "red": "tab:red"}
UNITS = {"reqps": "requests/s", "ops": "1/s", "percentunit": "%", "short": "", "none": ""}
COLUMNS = 3
NUMBERS_PER_LINE = 7

Named = tuple[str, prometheus.Series]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=150, help="how long the load lasts")
    seconds = parser.parse_args().seconds
    mpl.use("Agg")
    PICTURES.mkdir(exist_ok=True)
    asyncio.run(_draw(seconds))


async def _draw(seconds: int) -> None:
    async with run_receiver() as receiver:
        await asyncio.to_thread(_run_load, seconds, receiver.url)


def _run_load(seconds: int, webhook_url: str) -> None:
    programs = prometheus.find("prometheus"), rabbitmq.find()
    if None in programs:
        raise SystemExit("prometheus and rabbitmq-server must be installed")
    with ExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        own_broker = stack.enter_context(rabbitmq.run_broker(str(programs[1]), directory))
        brokers = {
            "SALDO_RABBITMQ_URL": own_broker.url,
            "SALDO_RABBITMQ_STREAM_URL": own_broker.stream_url,
        }
        # The embedded server serves as its own replica.
        replica = {
            "SALDO_DATABASE_REPLICA_URL": EmbeddedServer(directory / "data").service_role_url
        }
        running = stack.enter_context(
            run_service_process(directory, **SETTINGS, **brokers, **replica)
        )
        watching = stack.enter_context(
            prometheus.run_prometheus(str(programs[0]), directory, running.url)
        )
        begin = time.time()
        user_ids = stack.enter_context(run_load(running.url, pace_seconds=PAUSE_SECONDS))
        with httpx.Client(base_url=running.url) as client:
            for body in (
                {"url": webhook_url},
                {"url": "http://127.0.0.1:9/nobody", "user_ids": user_ids[:1]},
            ):
                client.post("/v1/webhook", json=body).raise_for_status()
        time.sleep(seconds / 3)
        stack.enter_context(run_load(running.url, pace_seconds=PAUSE_SECONDS))
        time.sleep(seconds / 6)
        own_broker.kill()
        time.sleep(seconds / 6)
        own_broker.start()
        time.sleep(seconds / 3)
        for title, row in ROWS.items():
            name = title.lower().replace(" ", "-")
            _row(watching, title, row, PICTURES / f"{name}.png", (begin, time.time()))


def _row(
    watching: prometheus.Prometheus,
    title: str,
    panels: Sequence[Panel],
    path: Path,
    span: tuple[float, float],
) -> None:
    """Draw one picture, with the single numbers in the first line and the graphs below."""
    shown = [panel for panel in panels if panel.exporter is None]
    stats = [panel for panel in shown if panel.kind == "stat"]
    graphs = [panel for panel in shown if panel.kind != "stat"]
    lines = math.ceil(len(graphs) / COLUMNS)
    stat_lines = math.ceil(len(stats) / NUMBERS_PER_LINE)
    pyplot.rcParams.update(
        {"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "axes.grid": True}
    )
    pyplot.rcParams.update({"grid.alpha": 0.3, "legend.frameon": False})
    figure = pyplot.figure(figsize=(14, 3.3 * lines + stat_lines + 0.4), layout="constrained")
    figure.suptitle(title, fontsize=12)
    top: Any = None
    bottom: Any = figure
    if stats:
        subfigures: Any = figure.subfigures(2, 1, height_ratios=(stat_lines, 3 * lines))
        top, bottom = subfigures
    for index, panel in enumerate(stats):
        line, column = divmod(index, NUMBERS_PER_LINE)
        x = (column + 0.5) / min(len(stats), NUMBERS_PER_LINE)
        _number(top, (x, 1 - line / stat_lines, 1 / stat_lines), panel, watching)
    for index, panel in enumerate(graphs):
        axes = bottom.add_subplot(lines, COLUMNS, index + 1)
        _graph(axes, panel, watching, span)
    figure.savefig(path, dpi=90)
    pyplot.close(figure)


def _number(
    figure: Any,
    place: tuple[float, float, float],
    panel: Panel,
    watching: prometheus.Prometheus,
) -> None:
    """Draw a single number.

    Args:
        place: the centre, the upper edge and the height, as shares of the figure.
    """
    x, top, height = place
    (query,) = panel.queries
    found = watching.query(prometheus.substitute_variables(query.text))
    value = found[0].value if found else math.nan
    text = panel.names.get(f"{value:g}", (_text(value, panel.unit), ""))[0]
    if math.isnan(value):
        text = panel.no_value or ""
    figure.text(x, top - 0.25 * height, panel.title, ha="center", fontsize=8, color="0.4")
    figure.text(x, top - 0.7 * height, text, ha="center", fontsize=16, color=_colour(panel, value))


def _text(value: float, unit: str) -> str:
    match unit:
        case "percentunit":
            return f"{value:.2%}"
        case "s":
            return f"{value:.2f} s"
        case "none":
            return f"{value:,.2f}"
        case "ops":
            return f"{value:,.2f}/s"
        case _:
            return f"{value:,.0f} {UNITS[unit]}".strip()


def _colour(panel: Panel, value: float) -> str:
    if not panel.steps or math.isnan(value):
        return "0.2"
    colour = "red" if any(each == "green" for each, _ in panel.steps) else "green"
    for each, least in panel.steps:
        if value >= least:
            colour = each
    return COLOURS[colour]


def _graph(
    axes: Any, panel: Panel, watching: prometheus.Prometheus, span: tuple[float, float]
) -> None:
    named = [
        (_legend(query, series.labels), series)
        for query in panel.queries
        for series in watching.query_range(
            prometheus.substitute_variables(query.text), *span, STEP_SECONDS
        )
    ]
    if len(named) > COLUMNS:
        # Many outcomes never occur here, and their names would fill the legend.
        happening = [
            (name, series) for name, series in named if any(value for _, value in series.points)
        ]
        named = happening or named
    scale = 100 if panel.unit == "percentunit" else 1
    if panel.kind == "heatmap":
        _heatmap(axes, named, span)
    elif panel.stacked:
        _stacked(axes, named, span, scale)
    else:
        for name, series in named:
            axes.plot(
                [moment - span[0] for moment, _ in series.points],
                [value * scale for _, value in series.points],
                label=name,
                linewidth=1,
            )
    if panel.kind != "heatmap":
        axes.set_ylim(0, axes.get_ylim()[1] * 1.1)
        _lines(axes, panel, scale)
        columns = 4 if all(len(name) < 12 for name, _ in named) else 2
        axes.legend(fontsize=6, ncols=columns, loc="upper left", bbox_to_anchor=(0, -0.12))
        if panel.unit in {"s", "bytes"}:
            axes.yaxis.set_major_formatter(EngFormatter(unit=panel.unit[0].replace("b", "B")))
    axes.set_title(panel.title, fontsize=9)
    axes.set_ylabel(UNITS.get(panel.unit, ""))
    axes.set_xlim(0, span[1] - span[0])
    axes.xaxis.set_major_formatter(EngFormatter(unit="s"))


def _lines(axes: Any, panel: Panel, scale: float) -> None:
    """Draw the thresholds within the range of the values. Others would compress the graph."""
    highest = axes.get_ylim()[1]
    for colour, value in panel.steps:
        if value * scale <= highest:
            axes.axhline(value * scale, color=COLOURS[colour], linestyle="--", linewidth=0.8)


def _stacked(axes: Any, named: Sequence[Named], span: tuple[float, float], scale: float) -> None:
    moments = sorted({moment for _, series in named for moment, _ in series.points})
    points = [dict(series.points) for _, series in named]
    values = [
        [scale * _number_or_zero(known.get(moment, 0)) for moment in moments] for known in points
    ]
    axes.stackplot(
        [moment - span[0] for moment in moments],
        values,
        labels=[name for name, _ in named],
        alpha=0.6,
    )


def _number_or_zero(value: float) -> float:
    return 0 if math.isnan(value) else value


def _heatmap(axes: Any, named: Sequence[Named], span: tuple[float, float]) -> None:
    """Draw a heatmap of a histogram. The buckets are cumulative, so the bucket below is subtracted from each."""
    ordered = sorted(named, key=lambda each: float(each[1].labels["le"]))
    moments = sorted({moment for _, series in ordered for moment, _ in series.points})
    below = dict.fromkeys(moments, 0.0)
    rows = []
    for _, series in ordered:
        known = dict(series.points)
        rows.append([max(known.get(moment, 0) - below[moment], 0) for moment in moments])
        below = {moment: known.get(moment, 0) for moment in moments}
    axes.pcolormesh(
        [moment - span[0] for moment in moments],
        range(len(ordered)),
        rows,
        cmap="Oranges",
        shading="nearest",
    )
    axes.set_yticks(range(len(ordered)), [name for name, _ in ordered], fontsize=6)
    axes.grid(visible=False)


def _legend(query: Query, labels: Any) -> str:
    text = query.legend
    for name, value in labels.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


if __name__ == "__main__":
    main()
