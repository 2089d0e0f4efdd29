"""The base class of the sections of the settings. It defines from where the values are read."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from saldo.settings.environment import is_service_link

ENV_FILE: Final = Path(".env")
"""The file of settings, in the working directory."""


class SettingsSection(BaseSettings):
    """Base class of the groups of settings. The values are read from SALDO_* environment variables and from `.env`."""

    model_config = SettingsConfigDict(
        env_prefix="SALDO_",
        env_file=ENV_FILE,
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Ignore variables that Kubernetes sets, such as SALDO_PORT=tcp://10.0.0.1:8000 for a Service named saldo."""
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = {
                name: value
                for name, value in env_settings.env_vars.items()
                if not is_service_link(name, value)
            }
        return init_settings, env_settings, dotenv_settings, file_secret_settings
