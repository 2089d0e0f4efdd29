"""The reference page of the settings, and `.env.sample`, generated from the sections of `Settings`."""

from __future__ import annotations

import textwrap
from typing import Final

from saldo.settings.environment import COMMAND_NAMES
from saldo.settings.model import SECTIONS, Settings

_BEGINNING: Final = """# Settings

Every setting is an environment variable. A file `.env` in the working directory may contain the same names; the
environment takes precedence. An unusable value stops the start with a line that names the setting.

Names that begin with `SALDO_` are reserved. A name that is not on this page stops the start, in the environment as in
`.env`, and the message suggests the nearest setting: a misspelt `SALDO_DATABASE_URL` must not lead to another ledger.
Exceptions are `SALDO_TEST_…` and `SALDO_FUZZ_…` (the test suite) and the variables that Kubernetes adds for a Service
whose name begins with `saldo`, such as `SALDO_SERVICE_HOST` and `SALDO_PORT=tcp://10.0.0.1:8000`; Saldo ignores those.
Give your own variables another prefix.
"""
_COMMANDS: Final = """## Command line

Commands that talk to a service read these from the environment only, not from `.env`. They also read `SALDO_TIMEZONE`,
from both: each time without an offset is in the zone of the machine that runs the command, never in the service's.

| setting | default | |
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
        lines += ["| setting | default | |", "|---|---|---|", *map(_row, section.model_fields), ""]
    lines += [_COMMANDS]
    lines += [f"| `{name}` |  | {described} |" for name, described in COMMAND_NAMES.items()]
    return "\n".join(lines).rstrip("\n") + "\n"


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
