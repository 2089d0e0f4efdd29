"""Settings of a service that runs in the process of a test."""

from __future__ import annotations

from saldo.settings.model import Settings


def create_settings(database_url: str, **values: object) -> Settings:
    """Return settings for a test, without anything from `.env`."""
    return Settings(_env_file=None, database_url=database_url, timezone="UTC", **values)  # type: ignore[arg-type, call-arg]
