"""Settings of the ledger: times, the currency, and the limits of its rules."""

from __future__ import annotations

from datetime import timedelta, tzinfo
from typing import Annotated

from pydantic import Field

from saldo.ledger.instants import FUTURE_TOLERANCE_MAX
from saldo.ledger.money import AMOUNT_MAX, BALANCE_MAX
from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, ZoneName, parse_zone


class TimeZoneSettings(SettingsSection):
    """The time zone. It is separate, because commands that use a service on another machine need only this setting."""

    timezone: ZoneName = Field(
        None,
        description="IANA time zone of times without an offset. The default is the zone of the machine (TZ).",
    )

    @property
    def tzinfo(self) -> tzinfo | None:
        """The time zone of times without an offset; None means the zone of the machine."""
        return parse_zone(self.timezone)


class CurrencySettings(TimeZoneSettings):
    """The time zone and the currency."""

    currency_decimals: int = Field(
        2,
        ge=0,
        le=8,
        description="Number of decimals of the currency. It is fixed when the ledger is created.",
    )


class LedgerLimitSettings(SettingsSection):
    """Limits of amounts, balances, times and names."""

    amount_max_minor: int = Field(
        AMOUNT_MAX,
        ge=1,
        le=AMOUNT_MAX,
        description="Maximum amount of one transaction, in minor units.",
    )
    balance_max_minor: int = Field(
        BALANCE_MAX,
        ge=1,
        le=BALANCE_MAX,
        description="Maximum balance, in minor units. A deposit that would exceed it is refused.",
    )
    future_tolerance_seconds: int = Field(
        300,
        ge=0,
        le=int(FUTURE_TOLERANCE_MAX.total_seconds()),
        description="Maximum time by which a timestamp may be ahead of the ledger's clock. It allows for differences "
        "between clocks. It must be small, so that tomorrow's money can't be spent today.",
    )
    max_lateness_seconds: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        description="Maximum lateness: the time by which a timestamp may precede the user's latest timestamp. A limit "
        "also bounds the cost of a balance at a date. By default there is no limit.",
    )
    late_check_entries_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of entries that are read to check one late withdrawal, while its shard is locked. "
        "10,000 entries take about 10 ms.",
    )
    late_batch_entries_max: int = Field(
        20_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of entries that are read to check all late withdrawals of one batch. The late "
        "withdrawals of one user share one read. Further late withdrawals are decided in the next batch, "
        "so that other users do not wait for them. In an atomic array they are refused as "
        "`late_check_too_long`.",
    )
    name_length_max: int = Field(
        200, ge=1, le=200, description="Maximum length of a user's name, in characters."
    )

    @property
    def future_tolerance(self) -> timedelta:
        return timedelta(seconds=self.future_tolerance_seconds)

    @property
    def max_lateness(self) -> timedelta | None:
        seconds = self.max_lateness_seconds
        return None if seconds is None else timedelta(seconds=seconds)
