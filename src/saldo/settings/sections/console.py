"""Settings of the console."""

from __future__ import annotations

from pydantic import Field

from saldo.settings.section import SettingsSection


class ConsoleSettings(SettingsSection):
    """The console."""

    console_enabled: bool = Field(
        True, description="Whether the service has a console at /console."
    )
    console_idle_seconds: int = Field(
        1800,
        ge=60,
        le=604_800,
        description="Time without a request after which a console session expires.",
    )
    console_session_seconds: int = Field(
        43_200,
        ge=60,
        le=2_592_000,
        description="Maximum duration of a console session (12 hours by default).",
    )
    console_sessions_of_key_max: int = Field(
        20,
        ge=1,
        le=1000,
        description="Maximum number of console sessions of one key. A further sign-in ends the session that was used "
        "least recently.",
    )
    console_chart_points_max: int = Field(
        2000,
        ge=100,
        le=10_000,
        description="Maximum number of points of a chart. More points slow the browser down and can't be "
        "distinguished.",
    )
    console_chart_entries_max: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Maximum number of entries that a chart reads to draw each of them; 20,000 take less than 0.1 s. "
        "For ranges with more entries the chart shows the balance at equal intervals.",
    )
