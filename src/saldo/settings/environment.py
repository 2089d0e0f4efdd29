"""The check for misspelt settings: names in the environment and in `.env` that begin with ``SALDO_`` but are unknown.

This module handles the names only. `saldo.settings.model` handles the values.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from io import StringIO
from pathlib import Path
from typing import Final

from dotenv.parser import parse_stream

PREFIX: Final = "SALDO_"

OTHER_PREFIXES: Final = ("SALDO_TEST_", "SALDO_FUZZ_")
"""Prefixes of the variables of the test suite and of the fuzzer."""

_SERVICE_LINK: Final = re.compile(
    r"SALDO_(?:\w+_)?(?:SERVICE_HOST|SERVICE_PORT(?:_\w+)?|PORT_\d+_(?:TCP|UDP|SCTP)(?:_(?:PROTO|PORT|ADDR))?)",
    re.ASCII,
)
_LINK_VALUE: Final = re.compile(r"(?:tcp|udp|sctp)://\S+", re.ASCII)


class SettingsError(Exception):
    """Raised when the settings can't be used. The message is one line for the operator."""


def is_service_link(name: str, value: str | None) -> bool:
    """Return whether Kubernetes (or a Docker link) has set the variable for a Service whose name begins with saldo.

    Kubernetes adds ``SALDO_SERVICE_HOST``, ``SALDO_PORT=tcp://10.0.0.1:8000``, ``SALDO_PORT_8000_TCP_ADDR`` and more
    to every pod of the namespace. The operator has not written them, so they can't be misspelt settings.
    """
    name = name.upper()
    if name.endswith("_PORT") and _LINK_VALUE.fullmatch(value or ""):
        return name.startswith(PREFIX)
    return _SERVICE_LINK.fullmatch(name) is not None


def check_names(environment: Mapping[str, str], file: Path, fields: Iterable[str]) -> None:
    """Reject variables that begin with ``SALDO_`` but are no setting, and lines of `.env` that can't be parsed.

    If a misspelt SALDO_DATABASE_URL were ignored, the service would record money in another ledger.

    Args:
        environment: The process's variables.
        file: Path of the `.env` file, which may be missing.
        fields: Names of the settings of the service and of the commands, in lower case.

    Raises:
        SettingsError: A name is misspelt, or a line can't be parsed. For a misspelt name, the message suggests a
            similar one.
    """
    known_names = {f"{PREFIX}{field.upper()}" for field in fields}
    for name, value in environment.items():
        upper = name.upper()
        if upper in known_names or not upper.startswith(PREFIX) or upper.startswith(OTHER_PREFIXES):
            continue
        if not is_service_link(name, value):
            raise SettingsError(f"environment: {_describe_unknown_name(name, known_names)}")
    _check_file(file, known_names)


def _check_file(path: Path, known_names: set[str]) -> None:
    if not path.is_file():
        return
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f".env can't be read: {error}") from None
    for binding in parse_stream(StringIO(text)):
        original = binding.original.string
        line = binding.original.line + original[: -len(original.lstrip())].count("\n")
        if binding.error:
            raise SettingsError(f".env line {line}: expected NAME=value")
        name = (binding.key or "").upper()
        is_known = name in known_names or name.startswith(OTHER_PREFIXES)
        if name.startswith(PREFIX) and not is_known:
            raise SettingsError(f".env line {line}: {_describe_unknown_name(name, known_names)}")


def _describe_unknown_name(name: str, known_names: set[str]) -> str:
    similar_names = get_close_matches(name.upper(), sorted(known_names), n=1, cutoff=0.6)
    hint = (
        f"did you mean {similar_names[0]}?"
        if similar_names
        else "docs/reference/settings.md lists all settings"
    )
    return f"no setting is named {name}; {hint}"
