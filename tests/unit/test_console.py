"""The console's words, numbers, times and points, without a service."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from saldo.console import words
from saldo.console.chart import Point, added_up, thinned
from saldo.console.formats import Formats
from saldo.console.languages import WORDS
from saldo.console.look import Look
from saldo.console.money import EXAMPLE
from saldo.console.page import local_path
from saldo.console.samples import Samples, quantile
from saldo.console.words import Counted, Words
from saldo.http.answers import OUTCOME_NAMES
from saldo.ledger.money import MoneyError, parse_amount
from saldo.observability.metrics import OUTCOMES
from saldo.store.charts import Change

ENGLISH, RUSSIAN = WORDS["en"], WORDS["ru"]
MOSCOW = ZoneInfo("Europe/Moscow")


def test_no_word_is_missing_and_each_has_the_same_places() -> None:
    for field in dataclasses.fields(Words):
        english, russian = getattr(ENGLISH, field.name), getattr(RUSSIAN, field.name)
        assert type(english) is type(russian), field.name
        if isinstance(english, str):
            assert english and russian, field.name
            assert english.count("{}") == russian.count("{}"), field.name
        elif isinstance(english, Counted):
            for form in dataclasses.astuple(english) + dataclasses.astuple(russian):
                assert form.count("{}") == 1, field.name
        elif isinstance(english, Mapping) and field.name != "field_faults":
            assert english.keys() == russian.keys(), field.name
    assert RUSSIAN.field_faults.keys() <= RUSSIAN.field_names.keys()
    assert set(ENGLISH.outcome_reasons) == set(OUTCOME_NAMES.values())


def test_no_word_is_left_over() -> None:
    package = Path(words.__file__).parent
    languages = {"words.py", "english.py", "russian.py"}
    files = [*package.glob("*.py"), *package.glob("templates/*.html")]
    text = "".join(file.read_text("utf-8") for file in files if file.name not in languages)
    used = set(re.findall(r"\b(?:t|words)\.(\w+)", text))
    assert {field.name for field in dataclasses.fields(Words)} - used == set()


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        *((0, "0 пользователей"), (1, "1 пользователь"), (2, "2 пользователя")),
        *((4, "4 пользователя"), (5, "5 пользователей"), (11, "11 пользователей")),
        *((12, "12 пользователей"), (14, "14 пользователей"), (21, "21 пользователь")),
        *((22, "22 пользователя"), (25, "25 пользователей"), (111, "111 пользователей")),
        *((101, "101 пользователь"), (1001, "1001 пользователь"), (112, "112 пользователей")),
    ],
)
def test_russian_counts(number: int, expected: str) -> None:
    assert RUSSIAN.users_found.of(number, str(number)) == expected


def test_english_counts() -> None:
    assert [ENGLISH.users_found.of(n, str(n)) for n in (0, 1, 2, 21)] == [
        "0 users",
        "1 user",
        "2 users",
        "21 users",
    ]


def formats(language: str = "en", decimals: int = 2) -> Formats:
    of_language = RUSSIAN if language == "ru" else ENGLISH
    return Formats("ru" if language == "ru" else "en", MOSCOW, decimals, of_language.durations)


def test_money_is_written_exactly_and_as_people_read_it() -> None:
    assert formats().money(123_456_789) == "1,234,567.89"
    assert formats().money(-5) == "\u22120.05"
    assert formats().signed(5) == "+0.05"
    assert formats("ru").money(123_456_789) == "1\u202f234\u202f567,89"
    assert formats(decimals=0).money(1234) == "1,234"
    assert formats("ru", 8).money(10**17) == "1\u202f000\u202f000\u202f000,00000000"
    assert formats("ru").plain(123_456) == "1234.56"


@pytest.mark.parametrize(
    ("language", "decimals", "typed", "read"),
    [
        *(("ru", 2, " 1 234,50 ", "1234.50"), ("ru", 2, "1\u202f234,5", "1234.5")),
        *(("ru", 2, "1\u2009234\u00a0567", "1234567"), ("ru", 2, "1234.5", "1234.5")),
        *(("en", 2, "1 234.50", "1234.50"), ("en", 2, "1,000.50", "1000.50")),
        *(("en", 0, "12,345", "12345"), ("en", 2, "1,234,567.89", "1234567.89")),
    ],
)
def test_amounts_are_read_as_people_type_them(
    language: str, decimals: int, typed: str, read: str
) -> None:
    assert formats(language, decimals).typed_amount(typed) == read


@pytest.mark.parametrize(
    ("language", "decimals", "typed"),
    [
        *(("en", 2, "1 2"), ("en", 2, "12 34"), ("ru", 2, "1 2,50"), ("en", 2, "1  234")),
        *(("en", 2, "1 234 56"), ("en", 2, "1234 567"), ("ru", 2, "1,234,5"), ("ru", 2, "1,000.5")),
        *(("en", 2, "1,234"), ("en", 2, "1,5"), ("en", 2, "1,23.50"), ("en", 0, "1,5")),
        *(("en", 2, "12\n345"), ("en", 2, "1,234 567.00"), ("en", 2, "1."), ("en", 2, ",5")),
    ],
)
def test_amounts_that_are_not_sure_are_refused(language: str, decimals: int, typed: str) -> None:
    with pytest.raises(MoneyError):
        parse_amount(formats(language, decimals).typed_amount(typed), decimals)


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("decimals", [0, 2, 3, 8])
def test_what_is_shown_may_be_typed(language: str, decimals: int) -> None:
    own = formats(language, decimals)
    for minor in (1, 999, 1000, EXAMPLE, 123_456_789, 10**15):
        assert parse_amount(own.typed_amount(own.money(minor)), decimals) == minor


def test_times_are_in_the_chosen_zone() -> None:
    instant = datetime(2026, 11, 26, 21, 30, 5, 123456, tzinfo=UTC)
    assert formats().time(instant) == "2026-11-27 00:30:05"
    assert formats("ru").time(instant) == "27.11.2026 00:30:05"
    assert formats().exact(instant) == "2026-11-27 00:30:05.123456+03:00"
    assert formats().field(instant) == "2026-11-27T00:30:05"
    assert formats().zone_name() == "Europe/Moscow, UTC+03:00"


def test_durations_have_the_unit_that_fits() -> None:
    found = [formats().duration(s).replace("\u00a0", " ") for s in (0.0031, 12, 300, 7200, 200_000)]
    assert found == ["3 ms", "12 s", "5 min", "2 h", "2 d"]


@pytest.mark.parametrize(
    ("cookie", "accepted", "expected"),
    [
        (None, "", Look("en")),
        (None, "ru-RU,ru;q=0.9,en;q=0.8", Look("ru")),
        (None, "de,en;q=0.8,ru;q=0.5", Look("en")),
        ("en.dark.Europe/Moscow", "ru", Look("en", "dark", "Europe/Moscow")),
        ("xx.pink.Nowhere/No", "ru", Look("ru")),
        ("ru", "", Look("ru")),
        ("...../../etc/passwd", "", Look("en")),
    ],
)
def test_a_look_is_what_was_chosen_as_far_as_it_is_one(
    cookie: str | None, accepted: str, expected: Look
) -> None:
    look = Look.read(cookie, accepted)
    assert look == expected
    assert Look.read(look.written, "") == look


@pytest.mark.parametrize(
    ("path", "inside"),
    [
        ("/console", True),
        ("/console/users?q=a", True),
        *(("/v1/user", False), ("//console", False), ("https://console/console", False)),
        *(("/consoles", False), ("/console\\..", False), ("/console\n", False), (None, False)),
        *(("//[", False), ("http://[/console", False)),
    ],
)
def test_only_paths_of_the_console_are_gone_to(path: str | None, inside: bool) -> None:
    assert (local_path(path) is not None) == inside


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def test_changes_at_one_moment_are_one_point() -> None:
    changes = [Change(at(1), 5), Change(at(1), -2), Change(at(3), 10)]
    assert list(added_up(100, changes)) == [Point(at(1), 103), Point(at(3), 113)]


def test_what_is_thinned_keeps_ends_and_extremes() -> None:
    points = [Point(at(number), (number * 7919) % 1009) for number in range(5000)]
    points[1234] = Point(at(1234), 10**9)
    points[4321] = Point(at(4321), -5)
    kept = thinned(points, 200)
    assert len(kept) <= 200
    assert kept == sorted(kept)
    assert {points[0], points[1234], points[4321], points[-1]} <= set(kept)


def test_a_quantile_is_reckoned_as_prometheus_does() -> None:
    inf = float("inf")
    assert quantile({0.01: 50, 0.1: 100, inf: 100}, 0.5) == 10
    assert quantile({0.01: 0, 0.1: 100, inf: 100}, 0.5) == 55
    assert quantile({0.01: 0, 0.1: 0, inf: 3}, 0.99) == 100
    assert quantile({0.01: 0, inf: 0}, 0.5) is None
    assert quantile({}, 0.5) is None


def test_samples_are_rates_of_this_process() -> None:
    samples = Samples()
    samples.take(100)
    OUTCOMES.labels("posted", "false").inc(10)
    OUTCOMES.labels("posted", "true").inc(5)
    OUTCOMES.labels("insufficient_funds", "false").inc(20)
    samples.take(105)
    series = samples.series()
    assert series.times == [105]
    assert (series.posted, series.refused, series.replayed) == ([2], [4], [1])
