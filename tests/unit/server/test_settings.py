"""The settings: each is in `.env.sample`, and errors name the setting."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from saldo.settings.environment import SettingsError, is_service_link
from saldo.settings.model import (
    SECTIONS,
    Settings,
    load_command_settings,
    load_settings,
    load_time_zone,
)
from saldo.settings.section import SettingsSection
from saldo.settings.sections import process
from saldo.settings.sections.commands import CommandSettings

SAMPLE = Path(__file__).parents[3] / ".env.sample"


def test_the_sample_names_every_setting_with_its_default() -> None:
    sample = dict(re.findall(r"^# ?SALDO_(\w+)=(.*)$", SAMPLE.read_text(), re.MULTILINE))
    defaults = {
        name.upper(): "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert sample == defaults


def test_sections_contain_every_setting_in_order() -> None:
    fields = [name for section in SECTIONS.values() for name in section.model_fields]
    assert fields == [*Settings.model_fields]


def test_sections_have_no_method_or_attribute_of_the_same_name() -> None:
    """Check that no section replaces another's validator or property, as `Settings` inherits from all of them."""
    owners: dict[str, set[str]] = {}
    for section in SECTIONS.values():
        for name in vars(section).keys() - vars(SettingsSection).keys():
            owners.setdefault(name, set()).add(section.__name__)
    shared = {name: found for name, found in owners.items() if len(found) > 1}
    assert not {name for name in shared if not name.startswith("__")}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("TRUSTED_PROXIES", "10.0.0.1/8"),
        ("TRUSTED_PROXIES", "nonsense"),
        ("WEBHOOK_DENY", "nonsense"),
        ("WEBHOOK_PORTS", "0"),
        ("CORS_ORIGINS", "*"),
    ],
)
def test_invalid_list_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, value: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"SALDO_{name}", value)
    with pytest.raises(SettingsError, match=rf"^SALDO_{name}=.{re.escape(value)}.: "):
        load_settings()


def test_every_wrong_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_LANES", "0")
    monkeypatch.setenv("SALDO_TIMEZONE", "Nowhere")
    with pytest.raises(SettingsError, match=r"SALDO_TIMEZONE=.*SALDO_LANES=") as caught:
        load_settings()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgersql://saldo:secret@db.example/saldo", "nonsense://saldo:[secret]@db.example/saldo"],
)
@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "DATABASE_OWNER_URL", "RABBITMQ_URL", "RABBITMQ_STREAM_URL"]
)
def test_invalid_value_that_may_contain_a_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"SALDO_{name}", url)
    with pytest.raises(SettingsError, match=rf"SALDO_{name}=\(not shown\): ") as caught:
        load_settings()
    assert "secret" not in str(caught.value)


def test_tracing_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_TRACING_URL", "http://127.0.0.1:4318/v1/traces")
    assert load_settings().tracing_url is not None
    monkeypatch.setattr(process, "TRACING_PACKAGES", ("opentelemetry.sdk", "not.there"))
    with pytest.raises(
        SettingsError, match=r"SALDO_TRACING_URL.*pip install 'saldo-ledger\[tracing\]'"
    ):
        load_settings()


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SALDO_PORT=9001\nSALDO_LANES=3\n")
    monkeypatch.setenv("SALDO_PORT", "9002")
    settings = load_settings()
    assert (settings.port, settings.lanes) == (9002, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# one\n\nSALDO_PORT 9000\n", "line 3: expected NAME=value"),
        ('SALDO_PORT="9000\nSALDO_LANES=3\n', "line 1: expected NAME=value"),
        (
            "SALDO_PORT=9000\nSALDO_DATABSE_URL=postgresql://x/y\n",
            "line 2: .*SALDO_DATABSE_URL; did you mean SALDO_DATABASE_URL",
        ),
        (
            "SALDO_URI=http://localhost:8000\n",
            "line 1: .*SALDO_URI; did you mean SALDO_URL",
        ),
    ],
)
def test_malformed_line_of_the_file_is_rejected(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(text)
    with pytest.raises(SettingsError, match=expected) as caught:
        load_settings()
    assert "\n" not in str(caught.value)


def test_variables_of_other_programs_in_the_file_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("export COMPOSE_PROJECT_NAME=a\nSALDO_PORT=9001 # ours\n")
    assert load_settings().port == 9001


def test_settings_of_commands_are_read_from_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SALDO_URL=http://a.example\nSALDO_KEY=in-the-file\n")
    monkeypatch.setenv("SALDO_URL", "http://b.example")
    settings = load_command_settings()
    assert settings.url == "http://b.example"
    assert settings.key is not None
    assert settings.key.get_secret_value() == "in-the-file"
    assert "in-the-file" not in repr(settings)
    load_settings()  # The service accepts the names, and ignores them.


@pytest.mark.parametrize("function", [load_settings, load_time_zone, load_command_settings])
@pytest.mark.parametrize(
    ("name", "named"),
    [
        ("SALDO_DATABSE_URL", "did you mean SALDO_DATABASE_URL"),
        ("SALDO_TIMEZONES", "did you mean SALDO_TIMEZONE"),
        ("saldo_currency_decimal", "did you mean SALDO_CURRENCY_DECIMALS"),
        ("SALDO_KEYFILE", "did you mean SALDO_KEY_FILE"),
        ("SALDO_QQQQQQ", "docs/reference/settings.md"),
        ("SALDO_PORTS", "did you mean SALDO_PORT"),
    ],
)
def test_a_misspelt_name_in_the_environment_is_refused(
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    function: Callable[[], object],
    name: str,
    named: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=rf"environment: .*{name}; {named}") as caught:
        function()
    assert "\n" not in str(caught.value)


def test_variables_of_other_programs_are_ignored(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SALDO_PORT=9001\n")
    commands_only = [f"SALDO_{name.upper()}" for name in CommandSettings.model_fields]
    for name in (*commands_only, "SALDO_TEST_SEED", "SALDO_FUZZ_SECONDS"):
        monkeypatch.setenv(name, "x")
    # Kubernetes adds these variables to each pod, for Services named saldo and saldo-relay.
    for service in ("SALDO", "SALDO_RELAY_ENABLED"):
        link = "tcp://10.0.0.1:8000"
        monkeypatch.setenv(f"{service}_SERVICE_HOST", "10.0.0.1")
        monkeypatch.setenv(f"{service}_SERVICE_PORT", "8000")
        monkeypatch.setenv(f"{service}_SERVICE_PORT_HTTP", "8000")
        monkeypatch.setenv(f"{service}_PORT", link)
        monkeypatch.setenv(f"{service}_PORT_8000_TCP", link)
        for part, value in (("PROTO", "tcp"), ("PORT", "8000"), ("ADDR", "10.0.0.1")):
            monkeypatch.setenv(f"{service}_PORT_8000_TCP_{part}", value)
    # The link is not the port to listen on, and does not override the one in the file.
    assert load_settings().port == 9001


def test_no_setting_has_the_name_of_a_kubernetes_variable() -> None:
    for name in Settings.model_fields:
        assert not is_service_link(f"SALDO_{name.upper()}", "1")


def test_the_zone_alone_is_read_from_the_file_and_the_environment_wins(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    assert load_time_zone() is None
    # The other settings may belong to a service on another machine.
    (tmp_path / ".env").write_text("SALDO_TIMEZONE=Asia/Tokyo\nSALDO_TLS_KEY_FILE=/not/there\n")
    assert str(load_time_zone()) == "Asia/Tokyo"
    monkeypatch.setenv("SALDO_TIMEZONE", "Europe/Berlin")
    assert str(load_time_zone()) == "Europe/Berlin"
    monkeypatch.setenv("SALDO_TIMEZONE", "Nowhere/Land")
    with pytest.raises(SettingsError, match=r"SALDO_TIMEZONE='Nowhere/Land': .*IANA zone"):
        load_time_zone()


@pytest.mark.parametrize("function", [load_settings, load_time_zone])
def test_message_about_a_wrong_value_has_no_prefix_of_the_library(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, function: Callable[[], object]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_TIMEZONE", "X")
    with pytest.raises(SettingsError, match=r"^SALDO_TIMEZONE='X': ") as caught:
        function()
    assert "Value error" not in str(caught.value)
