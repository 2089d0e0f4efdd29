"""The settings: every one in `.env.sample`, wrong ones named."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from saldo.settings import Settings, WrongSettingsError, load

SAMPLE = Path(__file__).parents[2] / ".env.sample"


def test_the_sample_names_every_setting_with_its_default() -> None:
    sample = dict(re.findall(r"^# ?SALDO_(\w+)=(.*)$", SAMPLE.read_text(), re.MULTILINE))
    defaults = {
        name.upper(): "" if field.default is None else str(field.default)
        for name, field in Settings.model_fields.items()
    }
    assert sample == defaults


def test_every_wrong_setting_is_named_at_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_LANES", "0")
    monkeypatch.setenv("SALDO_ZONE", "Nowhere")
    with pytest.raises(WrongSettingsError, match=r"SALDO_ZONE=.*SALDO_LANES=") as caught:
        load()
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "url",
    ["postgersql://saldo:secret@db.example/saldo", "nonsense://saldo:[secret]@db.example/saldo"],
)
@pytest.mark.parametrize(
    "name", ["DATABASE_URL", "DATABASE_OWNER_URL", "RABBITMQ_URL", "RABBITMQ_STREAM_URL"]
)
def test_a_wrong_value_that_may_hold_a_password_is_not_shown(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: str, url: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(f"SALDO_{name}", url)
    with pytest.raises(WrongSettingsError, match=rf"SALDO_{name}=\(not shown\): ") as caught:
        load()
    assert "secret" not in str(caught.value)


def test_tracing_without_its_packages_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SALDO_TRACING_URL", "http://127.0.0.1:4318/v1/traces")
    assert load().tracing_url is not None
    monkeypatch.setattr("saldo.settings.TRACING_PACKAGES", ("opentelemetry.sdk", "not.there"))
    with pytest.raises(
        WrongSettingsError, match=r"SALDO_TRACING_URL.*pip install 'saldo\[tracing\]'"
    ):
        load()


def test_the_environment_wins_over_the_file(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("SALDO_PORT=9001\nSALDO_LANES=3\n")
    monkeypatch.setenv("SALDO_PORT", "9002")
    settings = load()
    assert (settings.port, settings.lanes) == (9002, 3)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("# one\n\nSALDO_PORT 9000\n", "line 3: expected NAME=value"),
        ('SALDO_PORT="9000\nSALDO_LANES=3\n', "line 1: expected NAME=value"),
        ("SALDO_PORT=9000\nSALDO_DATABSE_URL=postgresql://x/y\n", "line 2: .* SALDO_DATABSE_URL"),
    ],
)
def test_a_line_of_the_file_that_says_nothing_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, text: str, expected: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text(text)
    with pytest.raises(WrongSettingsError, match=expected) as caught:
        load()
    assert "\n" not in str(caught.value)


def test_what_the_file_says_to_other_programs_is_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("export COMPOSE_PROJECT_NAME=a\nSALDO_PORT=9001 # ours\n")
    assert load().port == 9001
