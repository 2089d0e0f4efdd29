"""Texts, numbers, times and chart points of the console, without a service."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

import saldo
from saldo.console.formatting import Formatter
from saldo.console.i18n import catalog
from saldo.console.i18n.catalog import Messages, PluralText
from saldo.console.i18n.catalogs import CATALOGS
from saldo.console.metrics_history import MetricsHistory, estimate_quantile
from saldo.console.page import (
    ConsolePage,
    FormFault,
    LocalizedFault,
    describe_fault,
    parse_console_path,
)
from saldo.console.pages.balance_chart import BalancePoint, accumulate_balances, downsample
from saldo.console.pages.transaction_form import EXAMPLE_AMOUNT_MINOR
from saldo.console.preferences import Language, Preferences
from saldo.http.responses import OUTCOME_NAMES
from saldo.ledger.instants import InstantError, parse_instant
from saldo.ledger.money import MoneyError, parse_amount
from saldo.observability.metrics import OUTCOMES
from saldo.parsing.faults import InvalidField, InvalidRequestError
from saldo.parsing.keys import KeyParserOptions, parse_new_key_fields
from saldo.parsing.transactions import (
    ParserOptions,
    parse_kind,
    parse_page_position,
    parse_user_id,
    parse_user_name,
    parse_uuid,
)
from saldo.parsing.webhooks import create_webhook_parser_options, parse_new_webhook_fields
from saldo.settings import model as settings_module
from saldo.store.audit.progress import AuditStatus
from saldo.store.charts import BalanceChange
from saldo.store.seals import SealTotals
from saldo.store.sinks import SinkStatus
from saldo.store.totals import LedgerTotals

ENGLISH, RUSSIAN = CATALOGS["en"], CATALOGS["ru"]
MOSCOW = ZoneInfo("Europe/Moscow")


def test_catalogs_have_the_same_messages_and_placeholders() -> None:
    for field in dataclasses.fields(Messages):
        english, russian = getattr(ENGLISH, field.name), getattr(RUSSIAN, field.name)
        assert type(english) is type(russian), field.name
        if isinstance(english, str):
            assert english and russian, field.name
            assert english.count("{}") == russian.count("{}"), field.name
        elif isinstance(english, PluralText):
            for form in dataclasses.astuple(english) + dataclasses.astuple(russian):
                assert form.count("{}") == 1, field.name
        elif isinstance(english, Mapping) and field.name != "field_faults":
            assert english.keys() == russian.keys(), field.name
    assert RUSSIAN.field_faults.keys() <= RUSSIAN.field_names.keys()
    assert set(ENGLISH.outcome_reasons) == set(OUTCOME_NAMES.values())


def test_catalogs_have_no_unused_messages() -> None:
    package = Path(catalog.__file__).parents[1]
    languages = {"catalog.py", "english.py", "russian.py"}
    files = [*package.rglob("*.py"), *package.rglob("templates/**/*.html")]
    text = "".join(file.read_text("utf-8") for file in files if file.name not in languages)
    used = set(re.findall(r"\b(?:t|messages)\.(\w+)", text))
    assert {field.name for field in dataclasses.fields(Messages)} - used == set()


def test_templates_use_existing_members_only() -> None:
    """Check the members of the three objects that each template gets, since templates are not type-checked."""
    attributes = {"request", "root", "visitor", "service", "preferences", "messages"}
    page_members = {*dir(ConsolePage), *attributes}
    known = {"t": set(dir(Messages)), "f": set(dir(Formatter)), "page": page_members}
    for file in sorted((Path(catalog.__file__).parents[1] / "templates").glob("**/*.html")):
        for name, member in re.findall(r"\b(?<![.\w])(t|f|page)\.(\w+)", file.read_text("utf-8")):
            assert member in known[name], (file.name, name, member)


def test_templates_use_members_that_some_class_has() -> None:
    """Check every other member that a template reads: a class of the package, a macro or a dictionary has it."""
    known = {"format", "get", "items", "index", "isoformat", "from", "to"}
    for file in Path(saldo.__file__).parent.rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                known.add(node.name)
            elif isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Store):
                known.add(node.id if isinstance(node, ast.Name) else node.attr)
    templates = Path(catalog.__file__).parents[1] / "templates"
    texts = {file.name: file.read_text("utf-8") for file in templates.rglob("*.html")}
    known |= {name for text in texts.values() for name in re.findall(r"macro (\w+)\(", text)}
    unknown = [
        (name, member)
        for name, text in texts.items()
        for code in re.findall(r"\{[{%]((?:(?!\{[{%]).)*?)[%}]\}", text, re.DOTALL)
        for member in re.findall(r"[\w)\]]\.([a-z_]\w*)", re.sub(r"\"[^\"]*\"|'[^']*'", "", code))
        if member not in known
    ]
    assert not unknown


def test_overview_uses_existing_members_of_the_figures_only() -> None:
    figures = {
        "figures.ledger": LedgerTotals,
        "figures.audit": AuditStatus,
        "figures.seals": SealTotals,
        "sink": SinkStatus,
    }
    file = Path(catalog.__file__).parents[1] / "templates/overview.html"
    found = re.findall(
        r"(?<![.\w])(figures\.(?:ledger|audit|seals)|sink)\.(\w+)", file.read_text("utf-8")
    )
    assert {name for name, _ in found} == figures.keys()
    for name, member in found:
        assert member in {field.name for field in dataclasses.fields(figures[name])}, (name, member)


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
def test_russian_plural_forms(number: int, expected: str) -> None:
    assert RUSSIAN.users_found.format(number, str(number)) == expected


def test_english_plural_forms() -> None:
    assert [ENGLISH.users_found.format(n, str(n)) for n in (0, 1, 2, 21)] == [
        "0 users",
        "1 user",
        "2 users",
        "21 users",
    ]


def faults_of(parse: Callable[[], object]) -> list[InvalidField]:
    with pytest.raises(InvalidRequestError) as caught:
        parse()
    return caught.value.faults


def parsed_faults() -> Iterator[InvalidField]:
    """Yield the faults that the parsers find in every kind of invalid input of the console's pages."""
    for amount in ("", "x", "-1", "0", "1.234", "1" * 200, "9" * 15):
        with pytest.raises(MoneyError) as money:
            parse_amount(amount, 2, 10**10)
        yield InvalidField("amount", str(money.value))
    for text in ("x", "2026-02-30", "1899-01-01", "2026-01-01T00:00:00+24:00", "1" * 200):
        with pytest.raises(InstantError) as instant:
            parse_instant(text, MOSCOW)
        for field in ("timestamp", "date", "from", "to"):
            yield InvalidField(field, str(instant.value))
    for name in (None, "", " ", "x" * 201, "a\u200bb", "a\x00", "\u0301a", "\ud800"):
        reading = ParserOptions(MOSCOW, 2, 10**10, 200)
        yield from faults_of(partial(parse_user_name, name, reading))
    options = KeyParserOptions(MOSCOW, 0, datetime(2026, 1, 1, tzinfo=UTC))
    invalid_keys: list[dict[str, object]] = [
        {"name": 1, "scopes": ["none"], "networks": ["x"], "user_ids": ["x"], "expires_at": "x"},
        {"name": "", "scopes": [], "networks": [], "user_ids": [], "expires_at": "2025-01-01"},
        {"name": "x" * 200, "scopes": ["admin"], "user_ids": ["1"], "expires_at": 1},
    ]
    for fields in invalid_keys:
        yield from faults_of(partial(parse_new_key_fields, fields, options))
    webhook = create_webhook_parser_options(settings_module.load_settings())
    for url in ("", "x", "https://a b", "https://u:p@example.com", "https://10.0.0.1/", "x" * 9999):
        hook = {"url": url, "user_ids": ["x"]}
        yield from faults_of(partial(parse_new_webhook_fields, hook, webhook))
    yield from faults_of(partial(parse_kind, "x"))
    yield from faults_of(partial(parse_uuid, "x"))
    yield from faults_of(partial(parse_user_id, "x"))
    for name in ("cursor", "after"):
        yield from faults_of(partial(parse_page_position, name, "x"))
    yield InvalidField("outcome", "must be posted or refused")


def field_faults(messages: Messages) -> Iterator[InvalidField]:
    """Yield every fault that a page can show, in all combinations with the fields that can have it."""
    yield from parsed_faults()
    for key in messages.form_faults:
        for name in ("unknown_field", *messages.field_names):
            yield FormFault(name, "is a fault of the form", key)
    yield LocalizedFault("amount", messages.amount_too_large.format("50.00"))
    yield LocalizedFault("to", messages.range_is_empty)


def assert_is_text(text: str) -> None:
    """Check that a text has no placeholders, and no spaces or punctuation marks too many."""
    assert text == text.strip() and "  " not in text, text
    assert not re.search(r"[{}]| [.,:;?!)]|\( |[.,:;] *[.,;]|[.,;] *:", text), text
    assert text.count("(") == text.count(")"), text


def assert_is_sentence(text: str) -> None:
    assert_is_text(text)
    assert text[0].isupper() or text[0].isdigit(), text
    assert text[-1] in ".?!…", text


@pytest.mark.parametrize("language", ["en", "ru"])
def test_message_of_each_field_fault_is_a_sentence(language: Language) -> None:
    messages = CATALOGS[language]
    faults = list(field_faults(messages))
    assert {fault.field for fault in faults} - {"unknown_field"} == messages.field_names.keys()
    for fault in faults:
        said = describe_fault(messages, fault)
        print(said)
        assert_is_sentence(said)
        assert (re.search("[а-яё]{3}", said) is not None) == (language == "ru"), said
        # In Russian the name is a heading; in English it is the subject of the sentence.
        name = messages.field_names.get(fault.field, messages.unnamed_field.format(fault.field))
        verbs = "must|has|is|cannot|are" if language == "en" else ""
        assert re.match(re.escape(name) + (f" ({verbs}) " if verbs else ": [а-яё]"), said), said


def texts(messages: Messages) -> Iterator[tuple[str, str]]:
    """Yield the name and the text of each message, with `5` for its placeholders."""
    for field in dataclasses.fields(Messages):
        match getattr(messages, field.name):
            case str() as text:
                yield field.name, text.replace("{}", "5", 1).replace("{}", "is given twice")
            case PluralText() as plural:
                for number in (1, 2, 5):
                    yield f"{field.name}[{number}]", plural.format(number, str(number))
            case Mapping() as mapping:
                for key, text in mapping.items():
                    yield f"{field.name}[{key}]", text.replace("{}", "5")
            case units:
                yield from ((field.name, unit) for unit in units)


PREDICATES = re.compile(
    "(field_faults|form_faults)|amount_too_large$|range_is_empty$|(throughput_unit|durations|milliseconds"
    "|per_second)$|scope_names"
)
"""Names of messages that do not begin with a capital letter: parts of sentences, units, and names of the API."""


@pytest.mark.parametrize("language", ["en", "ru"])
def test_each_message_is_a_label_or_a_sentence(language: Language) -> None:
    for name, text in texts(CATALOGS[language]):
        assert_is_text(text)
        if PREDICATES.match(name) is None:
            assert text[0].isupper() or text[0].isdigit() or text[0] == "№", (name, text)
        if re.search(r"[.?!] ", text.replace("No. ", "")):
            assert text[-1] in ".?!…:", (name, text)


def test_sentences_are_sentences_in_both_languages() -> None:
    english, russian = (dict(texts(CATALOGS[language])) for language in ("en", "ru"))
    for name in english.keys() & russian.keys() - {"durations", "number"}:
        ends = {text[-1] if text[-1] in ".?!…:" else "" for text in (english[name], russian[name])}
        assert len(ends) == 1, (name, english[name], russian[name])


@pytest.mark.parametrize("language", ["en", "ru"])
def test_results_of_transactions_are_sentences(language: Language) -> None:
    """Check the sentences that the pages compose from a reason, an amount and a remark."""
    messages = CATALOGS[language]
    for reason in messages.outcome_reasons.values():
        assert_is_sentence(f"{reason}. {messages.not_posted}")
        assert_is_sentence(f"{reason}. {messages.done_refused} {messages.done_before}")
        assert_is_sentence(f"{reason}. {messages.done_other}")
    for kind, done in messages.done.items():
        assert_is_sentence(f"{done.format('1,234.50')} {messages.done_before}")
        assert_is_sentence(f"{messages.confirm[kind].format('1,234.50')}?")
    for maximum in ("1", "1,000"):
        assert_is_sentence(messages.too_many_keys.format(maximum))
        assert_is_sentence(messages.too_many_webhooks.format(maximum))
    assert_is_sentence(f"{messages.transactions}. {messages.times_in.format('UTC')}.")


def formats(language: str = "en", decimals: int = 2) -> Formatter:
    of_language = RUSSIAN if language == "ru" else ENGLISH
    return Formatter("ru" if language == "ru" else "en", MOSCOW, decimals, of_language.durations)


def test_money_is_formatted_exactly_and_by_language() -> None:
    assert formats().format_money(123_456_789) == "1,234,567.89"
    assert formats().format_money(-5) == "\u22120.05"
    assert formats().format_signed_money(5) == "+0.05"
    assert formats("ru").format_money(123_456_789) == "1\u202f234\u202f567,89"
    assert formats(decimals=0).format_money(1234) == "1,234"
    assert formats("ru", 8).format_money(10**17) == "1\u202f000\u202f000\u202f000,00000000"
    assert formats("ru").format_api_amount(123_456) == "1234.56"


@pytest.mark.parametrize(
    ("language", "decimals", "typed", "read"),
    [
        *(("ru", 2, " 1 234,50 ", "1234.50"), ("ru", 2, "1\u202f234,5", "1234.5")),
        *(("ru", 2, "1\u2009234\u00a0567", "1234567"), ("ru", 2, "1234.5", "1234.5")),
        *(("en", 2, "1 234.50", "1234.50"), ("en", 2, "1,000.50", "1000.50")),
        *(("en", 0, "12,345", "12345"), ("en", 2, "1,234,567.89", "1234567.89")),
    ],
)
def test_typed_amounts_are_parsed(language: str, decimals: int, typed: str, read: str) -> None:
    assert formats(language, decimals).normalize_amount(typed) == read


@pytest.mark.parametrize(
    ("language", "decimals", "typed"),
    [
        *(("en", 2, "1 2"), ("en", 2, "12 34"), ("ru", 2, "1 2,50"), ("en", 2, "1  234")),
        *(("en", 2, "1 234 56"), ("en", 2, "1234 567"), ("ru", 2, "1,234,5"), ("ru", 2, "1,000.5")),
        *(("en", 2, "1,234"), ("en", 2, "1,5"), ("en", 2, "1,23.50"), ("en", 0, "1,5")),
        *(("en", 2, "12\n345"), ("en", 2, "1,234 567.00"), ("en", 2, "1."), ("en", 2, ",5")),
    ],
)
def test_ambiguous_amounts_are_rejected(language: str, decimals: int, typed: str) -> None:
    with pytest.raises(MoneyError):
        parse_amount(formats(language, decimals).normalize_amount(typed), decimals)


@pytest.mark.parametrize("language", ["en", "ru"])
@pytest.mark.parametrize("decimals", [0, 2, 3, 8])
def test_displayed_amount_can_be_typed(language: str, decimals: int) -> None:
    own = formats(language, decimals)
    for minor in (1, 999, 1000, EXAMPLE_AMOUNT_MINOR, 123_456_789, 10**15):
        assert parse_amount(own.normalize_amount(own.format_money(minor)), decimals) == minor


def test_times_are_in_the_chosen_zone() -> None:
    instant = datetime(2026, 11, 26, 21, 30, 5, 123456, tzinfo=UTC)
    assert formats().format_time(instant) == "2026-11-27 00:30:05"
    assert formats("ru").format_time(instant) == "27.11.2026 00:30:05"
    assert formats().format_exact_time(instant) == "2026-11-27 00:30:05.123456+03:00"
    assert formats().format_input_value(instant) == "2026-11-27T00:30:05"
    assert formats().describe_zone() == "Europe/Moscow, UTC+03:00"


def test_durations_have_the_unit_that_fits() -> None:
    found = [
        formats().format_duration(s).replace("\u00a0", " ")
        for s in (0.0031, 12, 300, 7200, 200_000)
    ]
    assert found == ["3 ms", "12 s", "5 min", "2 h", "2 d"]


@pytest.mark.parametrize(
    ("cookie", "accepted", "expected"),
    [
        (None, "", Preferences("en")),
        (None, "ru-RU,ru;q=0.9,en;q=0.8", Preferences("ru")),
        (None, "de,en;q=0.8,ru;q=0.5", Preferences("en")),
        ("en.dark.Europe/Moscow", "ru", Preferences("en", "dark", "Europe/Moscow")),
        ("xx.pink.Nowhere/No", "ru", Preferences("ru")),
        ("ru", "", Preferences("ru")),
        ("...../../etc/passwd", "", Preferences("en")),
    ],
)
def test_preferences_cookie_is_parsed_and_invalid_values_ignored(
    cookie: str | None, accepted: str, expected: Preferences
) -> None:
    look = Preferences.parse(cookie, accepted)
    assert look == expected
    assert Preferences.parse(look.serialize(), "") == look


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
def test_redirects_lead_only_to_console_paths(path: str | None, inside: bool) -> None:
    assert (parse_console_path(path) is not None) == inside


def at(second: int) -> datetime:
    return datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=second)


def test_simultaneous_changes_are_one_chart_point() -> None:
    changes = [BalanceChange(at(1), 5), BalanceChange(at(1), -2), BalanceChange(at(3), 10)]
    assert list(accumulate_balances(100, changes)) == [
        BalancePoint(at(1), 103),
        BalancePoint(at(3), 113),
    ]


def test_thinned_chart_keeps_ends_and_extremes() -> None:
    points = [BalancePoint(at(number), (number * 7919) % 1009) for number in range(5000)]
    points[1234] = BalancePoint(at(1234), 10**9)
    points[4321] = BalancePoint(at(4321), -5)
    kept = downsample(points, 200)
    assert len(kept) <= 200
    assert kept == sorted(kept)
    assert {points[0], points[1234], points[4321], points[-1]} <= set(kept)


def test_quantile_is_computed_like_in_prometheus() -> None:
    inf = float("inf")
    assert estimate_quantile({0.01: 50, 0.1: 100, inf: 100}, 0.5) == 10
    assert estimate_quantile({0.01: 0, 0.1: 100, inf: 100}, 0.5) == 55
    assert estimate_quantile({0.01: 0, 0.1: 0, inf: 3}, 0.99) == 100
    assert estimate_quantile({0.01: 0, inf: 0}, 0.5) is None
    assert estimate_quantile({}, 0.5) is None


def test_samples_are_rates_of_this_process() -> None:
    samples = MetricsHistory()
    samples.add_sample(100)
    OUTCOMES.labels("posted", "false").inc(10)
    OUTCOMES.labels("posted", "true").inc(5)
    OUTCOMES.labels("insufficient_funds", "false").inc(20)
    samples.add_sample(105)
    series = samples.compute_series()
    assert series.times == [105]
    assert (series.posted, series.refused, series.replayed) == ([2], [4], [1])
