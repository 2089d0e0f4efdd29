"""The six rows of the project's README: the figures that a visitor looks for, without targets and ratios."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from benchmarks.results.report import Record, number

FIGURES: Final = (
    (
        "single POST, 64 connections, with a key",
        "single POST, 64 connections, with a key: p99",
    ),
    ("bulk, fresh ledger", "bulk, 10,000,000 entries there"),
    ("GET balance, 64 connections",),
    ("balance at a date, 1,000,000 entries, any lateness",),
    ("events to a RabbitMQ stream, end to end", "events to a RabbitMQ exchange, end to end"),
    ("memory of the service, stream of 2,000,000 lines",),
)
"""The names of the measured figures of each row."""

_HEADINGS: Final = {
    "en": "service, database and clients on one machine with two cores",
    "ru": "сервис, база данных и клиенты на одной машине с двумя ядрами",
}

_LABELS: Final = {
    "en": (
        "single deposits and withdrawals, 64 clients; 99th percentile of the response time",
        "bulk request in an empty ledger; with 10,000,000 entries",
        "current balance, 64 clients",
        "balance at any date, user with 1,000,000 entries, time in the database",
        "events to a RabbitMQ stream; to an exchange",
        "memory of the service during a bulk request of 2,000,000 lines",
    ),
    "ru": (
        "отдельные пополнения и списания, 64 клиента; 99-й процентиль времени ответа",
        "пакетный запрос в пустой журнал; в журнал с 10 000 000 записей",
        "текущий баланс, 64 клиента",
        "баланс на любую дату, 1 000 000 записей у пользователя, время в базе данных",
        "события в поток (stream) RabbitMQ; в обменник (exchange)",
        "память сервиса во время пакетного запроса на 2 000 000 строк",
    ),
}

_RUSSIAN: Final = str.maketrans({",": "\N{NO-BREAK SPACE}", ".": ","})
_RUSSIAN_UNITS: Final = {"/s": "/с", "ms": "мс", "MB": "МБ"}

NOT_MEASURED: Final = "–"


def table(rows: Sequence[Record], language: str) -> str:
    """Return the summary in Markdown, and below it the dates, commits and machines of its measurements."""
    measured = {row["name"]: row for row in rows}
    lines = [f"| {_HEADINGS[language]} | |", "|---|--:|"]
    for names, label in zip(FIGURES, _LABELS[language], strict=True):
        figures = [_figure(measured.get(name), language) for name in names]
        lines.append(f"| {label} | {'; '.join(figures)} |")
    used = [measured[name] for names in FIGURES for name in names if name in measured]
    return "\n".join([*lines, "", *_stamps(used)]) + "\n"


def _figure(row: Record | None, language: str) -> str:
    """Format a figure with its unit, such as "19,603 /s"."""
    if row is None:
        return NOT_MEASURED
    value, unit = number(float(row["measured"])), row["unit"]
    if language == "ru":
        value, unit = value.translate(_RUSSIAN), _RUSSIAN_UNITS[unit]
    return f"{value} {unit}"


def _stamps(rows: Sequence[Record]) -> list[str]:
    """Return a line for each machine and day, with the commits that were measured there."""
    commits: dict[tuple[str, str], dict[str, None]] = {}
    for row in rows:
        commits.setdefault((row["date"][:10], row["machine"]), {})[row["commit"]] = None
    return [
        f"{date}, commit {', '.join(found)}: {machine}."
        for (date, machine), found in commits.items()
    ]
