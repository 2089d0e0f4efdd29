"""The reference page of the settings, and `.env.sample`, generated from the sections of `Settings`."""

from __future__ import annotations

import textwrap
from typing import Final

from saldo.settings.model import SECTIONS, Settings
from saldo.settings.sections.commands import CommandSettings

_BEGINNING: Final = """# Settings

Every setting is an environment variable. A file `.env` in the working directory can contain the same names, and the
environment takes precedence over it. If a value is invalid, the service does not start, and the error message names
the setting.

Names that begin with `SALDO_` are reserved. The service and the commands do not start if the environment or `.env`
contains such a name that is not on this page, because a misspelt `SALDO_DATABASE_URL` must not lead to another ledger.
The error message suggests the most similar setting. Saldo ignores `SALDO_TEST_…` and `SALDO_FUZZ_…` (the test suite),
and the variables that Kubernetes adds for a Service whose name begins with `saldo`, such as `SALDO_SERVICE_HOST`
and `SALDO_PORT=tcp://10.0.0.1:8000`. Give your own variables another prefix.
"""
_COMMANDS: Final = """## Command line

Commands that send requests to a service read these settings, and `SALDO_TIMEZONE`, from the environment and from
`.env`. Options of the command take precedence over both. If `SALDO_TIMEZONE` is unset, a time without an offset is in
the time zone of the machine that runs the command, never in that of the service. A command without `SALDO_URL` and
`--url` also reads `SALDO_DATA_DIR` and `SALDO_DATABASE_URL`
([which service a command uses](../howto/command-line.md#choose-the-service)).

| setting | default | description |
|---|---|---|"""
_SAMPLE_BEGINNING: Final = (
    "# Copy to .env and change what you need. The environment takes precedence over this file.\n"
)
_SAMPLE_WIDTH: Final = 118


def page() -> str:
    """Return the page in Markdown, with a table for each section."""
    lines = [_BEGINNING]
    for title, section in SECTIONS.items():
        lines += [f"## {title}", ""]
        lines += [
            "| setting | default | description |",
            "|---|---|---|",
            *map(_row, section.model_fields),
            "",
        ]
    lines += [_COMMANDS]
    lines += map(_command_row, CommandSettings.model_fields)
    return "\n".join(lines).rstrip("\n") + "\n"


def _command_row(name: str) -> str:
    return f"| `SALDO_{name.upper()}` |  | {CommandSettings.model_fields[name].description} |"


def sample() -> str:
    """Return the text of `.env.sample`: every setting with its description and its default, commented out."""
    parts = [_SAMPLE_BEGINNING]
    for title, section in SECTIONS.items():
        parts.append(f"# --- {title} {'-' * (_SAMPLE_WIDTH - 7 - len(title))}\n")
        for name in section.model_fields:
            field = Settings.model_fields[name]
            default = "" if field.default is None else str(field.default)
            described = textwrap.fill(
                (field.description or "").replace("`", ""),
                _SAMPLE_WIDTH,
                initial_indent="# ",
                subsequent_indent="# ",
                break_on_hyphens=False,
            )
            parts.append(f"{described}\n# SALDO_{name.upper()}={default}\n")
    return "\n".join(parts)


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    default = "" if field.default is None else str(field.default)
    described = (field.description or "").replace("|", "\\|")
    shown = f"`{default}`" if default else ""
    return f"| `SALDO_{name.upper()}` | {shown} | {described} |"
