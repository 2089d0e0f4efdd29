"""Settings of the process: address, logs and traces."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, field_validator

from saldo.observability.logs import LogFormat
from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_unambiguous_url, is_installed, parse_scheme

TRACING_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
"""Packages that the extra `tracing` installs."""


class ProcessSettings(SettingsSection):
    """The address, the number of processes, logs and traces."""

    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(
        8000,
        ge=0,
        le=65535,
        description="Port to listen on. With 0 the system chooses a free port.",
    )
    workers: int = Field(
        1, ge=1, le=64, description="Number of service processes that share the port."
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info",
        description="Lowest level that is logged. debug applies to Saldo's own loggers only, because libraries would "
        "log the data that they send.",
    )
    log_format: LogFormat = Field(
        "auto",
        description="Format of log lines: console is for people, json writes one JSON object per line, and auto "
        "chooses console on a terminal and json elsewhere.",
    )
    slow_log_seconds: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="Requests and batches that take longer than this are logged, with the time of each part.",
    )
    tracing_url: Annotated[str | None, Unset] = Field(
        None,
        description="URL of an OpenTelemetry collector that receives spans, such as http://host:4318/v1/traces. "
        "Requires the extra saldo-ledger[tracing].",
    )
    tracing_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Share of requests that start a trace. If a client with a valid key sends a traceparent header, "
        "that header decides instead.",
    )
    as_root: bool = Field(
        False,
        description="Whether the service and the relay may run as root. By default they refuse to start as root, "
        "because a vulnerability in a root process can compromise the whole machine.",
    )

    @field_validator("tracing_url")
    @classmethod
    def _check_tracing_url(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if parse_scheme(url) not in {"http", "https"}:
            raise ValueError("expected http://host:4318/v1/traces")
        if not all(map(is_installed, TRACING_PACKAGES)):
            raise ValueError(
                "needs packages that are not installed: pip install 'saldo-ledger[tracing]'"
            )
        return check_unambiguous_url(url)
