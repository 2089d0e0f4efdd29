"""Every setting and every limit of Saldo, and how they are loaded.

Settings are read from the environment (prefix ``SALDO_``) and from ``.env`` in the working directory. The environment
takes precedence. The sections contain the values that an operator may want to change, with their units, defaults and
reasons. Bounds that are part of the schema can't be changed; they are in `saldo.ledger.money`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from datetime import tzinfo
from typing import Final

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from saldo.settings.environment import SettingsError, check_names
from saldo.settings.section import ENV_FILE, SettingsSection
from saldo.settings.sections.access import (
    BrowserAndProxySettings,
    KeySettings,
    RateLimitSettings,
)
from saldo.settings.sections.commands import CommandSettings
from saldo.settings.sections.console import ConsoleSettings
from saldo.settings.sections.database import DatabaseSettings
from saldo.settings.sections.engine import EngineSettings
from saldo.settings.sections.events import EventStreamSettings
from saldo.settings.sections.heads import HeadSettings
from saldo.settings.sections.http import (
    BodySettings,
    ConnectionSettings,
    ReadSettings,
    TlsSettings,
)
from saldo.settings.sections.ledger import (
    CurrencySettings,
    LedgerLimitSettings,
    TimeZoneSettings,
)
from saldo.settings.sections.process import ProcessSettings
from saldo.settings.sections.relay import AuditSettings, RelaySettings
from saldo.settings.sections.tokens import TokenSettings
from saldo.settings.sections.webhooks import WebhookSettings

SECRET_SUFFIXES: Final = ("_url", "_secret", "_password", "_key")
"""Endings of the names of settings whose value may contain a password."""


class Settings(
    WebhookSettings,
    ConsoleSettings,
    EventStreamSettings,
    AuditSettings,
    HeadSettings,
    RelaySettings,
    TlsSettings,
    ConnectionSettings,
    BodySettings,
    ReadSettings,
    EngineSettings,
    LedgerLimitSettings,
    CurrencySettings,
    DatabaseSettings,
    TokenSettings,
    BrowserAndProxySettings,
    RateLimitSettings,
    KeySettings,
    ProcessSettings,
):
    """All settings. The name of a limit ends in its unit, and the description gives its reason.

    The sections are in reverse order, because pydantic collects the fields from the last base class to the first.
    """


SECTIONS: Final[Mapping[str, type[SettingsSection]]] = {
    "Process, logs and traces": ProcessSettings,
    "API keys and access": KeySettings,
    "Rate limits": RateLimitSettings,
    "Proxies and CORS": BrowserAndProxySettings,
    "JSON Web Tokens": TokenSettings,
    "Database": DatabaseSettings,
    "Time zone and currency": CurrencySettings,
    "Ledger limits": LedgerLimitSettings,
    "Queue, batches and shutdown": EngineSettings,
    "Reads and pagination": ReadSettings,
    "Request bodies and streams": BodySettings,
    "HTTP connections and timeouts": ConnectionSettings,
    "TLS": TlsSettings,
    "Relay and RabbitMQ": RelaySettings,
    "Signed heads": HeadSettings,
    "Background audit": AuditSettings,
    "Event stream": EventStreamSettings,
    "Console": ConsoleSettings,
    "Webhooks": WebhookSettings,
}
"""The sections by their titles in the documentation, in the order of the fields of `Settings`."""


def check_setting_names() -> None:
    """Reject misspelt names of settings in the environment and in `.env`.

    Raises:
        SettingsError: A name is misspelt. The message is one line, and suggests a similar name.
    """
    check_names(os.environ, ENV_FILE, [*Settings.model_fields, *CommandSettings.model_fields])


def load_time_zone() -> tzinfo | None:
    """Return the time zone of times without an offset; None means the zone of the machine.

    Client commands need only this setting. The values of other settings are not checked, because they may be intended
    for a service on another machine.

    Raises:
        SettingsError: The zone does not exist, or a name is misspelt.
    """
    check_setting_names()
    try:
        return TimeZoneSettings().tzinfo  # type: ignore[call-arg]
    except ValidationError as error:
        raise SettingsError("; ".join(map(_describe_error, error.errors()))) from None


def load_command_settings() -> CommandSettings:
    """Return the settings of commands that send requests to a service, from the environment and `.env`.

    Raises:
        SettingsError: A name is misspelt.
    """
    check_setting_names()
    return CommandSettings()  # type: ignore[call-arg]


def load_command_settings_of_environment() -> CommandSettings:
    """Return the settings of commands that are in the environment, without those in `.env`."""
    return CommandSettings(_env_file=None)  # type: ignore[call-arg]


def load_settings(**overrides: object) -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: A setting is misspelt or has a wrong value. The message is one line that names each wrong setting
            and the expected value.
    """
    check_setting_names()
    values = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**values)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(map(_describe_error, error.errors()))) from None


def _describe_error(fault: ErrorDetails) -> str:
    """Describe a fault in one line. If several settings together are at fault, the message already names them."""
    message, location = fault["msg"].removeprefix("Value error, "), fault["loc"]
    if not location:
        return message
    return f"{_format_name(location)}={_format_value(location, fault['input'])}: {message}"


def _format_name(location: tuple[int | str, ...]) -> str:
    return f"SALDO_{'_'.join(str(part) for part in location).upper()}"


def _format_value(location: tuple[int | str, ...], value: object) -> str:
    """Format a wrong value for the operator, but hide it if it may contain a password."""
    if any(str(part).endswith(SECRET_SUFFIXES) for part in location):
        return "(not shown)"
    return repr(value)
