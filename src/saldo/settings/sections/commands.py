"""Settings of commands that send requests to a service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field, SecretStr

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset


class CommandSettings(SettingsSection):
    """The service that commands use, and the API key. The service itself ignores these settings."""

    url: Annotated[str | None, Unset] = Field(
        None,
        description="URL of the service, like the option --url. By default commands use the service that runs on this "
        "machine.",
    )
    key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="API key, like the option --key. If SALDO_URL is in `.env`, SALDO_KEY must be there, too: a key "
        "from the environment is not sent to a URL from a file, which others may have written.",
    )
    key_file: Annotated[Path | None, Unset] = Field(
        None, description="File with the API key, like the option --key-file."
    )
