"""The page of the settings, from the class that reads them."""

from __future__ import annotations

import inspect
import re
from typing import Final

from saldo.settings import Settings

_BEGINNING: Final = """# Settings

Every setting is an environment variable. What stands in a file `.env` in the working directory counts where the
environment has nothing. A setting that can't be used ends the start with a line that names it.
"""
_SECTION = re.compile(r"    # --- (.+?) -+")
_FIELD = re.compile(r"    ([a-z][a-z0-9_]*): ")


def page() -> str:
    """The page, in Markdown: the sections of the class, a table each."""
    lines = [_BEGINNING]
    for section, names in sections().items():
        lines += [f"## {section[0].upper()}{section[1:]}", ""]
        lines += ["| setting | default | |", "|---|---|---|", *map(_row, names), ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def sections() -> dict[str, list[str]]:
    """The fields' names by the headings above them in the source, which is the one place where they are grouped."""
    found: dict[str, list[str]] = {}
    section = ""
    for line in inspect.getsource(Settings).splitlines():
        if heading := _SECTION.fullmatch(line):
            section = heading[1]
        elif (field := _FIELD.match(line)) and field[1] in Settings.model_fields:
            found.setdefault(section, []).append(field[1])
    return found


def _row(name: str) -> str:
    field = Settings.model_fields[name]
    default = "" if field.default is None else str(field.default)
    described = (field.description or "").replace("|", "\\|")
    shown = f"`{default}`" if default else ""
    return f"| `SALDO_{name.upper()}` | {shown} | {described} |"
