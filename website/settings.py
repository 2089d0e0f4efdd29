"""The reference page of the settings, and `.env.sample`, generated from the class `Settings`."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Final

from saldo.settings.environment import COMMAND_NAMES
from saldo.settings.model import Settings

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

_SECTION = re.compile(r"    # --- (.+?) -+")
_FIELD = re.compile(r"    ([a-z][a-z0-9_]*): ")


def page() -> str:
    """Return the page in Markdown, with a table for each section of the class."""
    lines = [_BEGINNING]
    for section, names in sections().items():
        lines += [f"## {section[0].upper()}{section[1:]}", ""]
        lines += ["| setting | default | |", "|---|---|---|", *map(_row, names), ""]
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
