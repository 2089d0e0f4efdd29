"""The reference page of the settings, and `.env.sample`, generated from the class `Settings`."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Final

from saldo.settings.environment import COMMAND_NAMES
from saldo.settings.model import Settings

_BEGINNING: Final = """# Settings

Every setting is an environment variable. A file `.env` in the working directory can contain the same names, and the
environment takes precedence over it. If a value is invalid, the service does not start, and the error message names
the setting.

Names that begin with `SALDO_` are reserved. The service does not start if the environment or `.env` contains such a
name that is not on this page, because a misspelt `SALDO_DATABASE_URL` must not lead to another ledger. The error
message suggests the most similar setting. Saldo ignores `SALDO_TEST_…` and `SALDO_FUZZ_…` (the test suite), and the
variables that Kubernetes adds for a Service whose name begins with `saldo`, such as `SALDO_SERVICE_HOST` and
`SALDO_PORT=tcp://10.0.0.1:8000`. Give your own variables another prefix.
"""
_COMMANDS: Final = """## Command line

Commands that send requests to a service read these settings from the environment only, not from `.env`. They read
`SALDO_TIMEZONE` from both. If it is unset, a time without an offset is in the time zone of the machine that runs the
command, never in that of the service.

| setting | default | description |
|---|---|---|"""
_SAMPLE_BEGINNING: Final = (
    "# Copy to .env and change what you need. The environment takes precedence over this file.\n"
)
_SAMPLE_WIDTH: Final = 118

_SECTION = re.compile(r"    # --- (.+?) -+")
_FIELD = re.compile(r"    ([a-z][a-z0-9_]*): ")


def page() -> str:
    """Return the page in Markdown, with a table for each section of the class."""
    lines = [_BEGINNING]
    for section, names in sections().items():
        lines += [f"## {section[0].upper()}{section[1:]}", ""]
        lines += ["| setting | default | description |", "|---|---|---|", *map(_row, names), ""]
    lines += [_COMMANDS]
    lines += [f"| `{name}` |  | {described} |" for name, described in COMMAND_NAMES.items()]
    return "\n".join(lines).rstrip("\n") + "\n"


def sections() -> dict[str, list[str]]:
    """Return the names of the fields by section. Only comments in the source of the class define the sections."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in inspect.getsource(Settings).splitlines():
        if heading := _SECTION.fullmatch(line):
            section = heading[1]
        elif (field := _FIELD.match(line)) and field[1] in Settings.model_fields:
            found.setdefault(section, []).append(field[1])
    return found


def sample() -> str:
    """Return the text of `.env.sample`: every setting with its description and its default, commented out."""
    parts = [_SAMPLE_BEGINNING]
    for section, names in sections().items():
        parts.append(f"# --- {section} {'-' * (_SAMPLE_WIDTH - 7 - len(section))}\n")
        for name in names:
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
