"""Settings of the relay and of the audit in the background."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FilePath, field_validator

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset, check_unambiguous_url, parse_scheme


class RelaySettings(SettingsSection):
    """The relay, seals, and RabbitMQ."""

    relay_enabled: bool = Field(
        True,
        description="Whether `saldo serve` also runs the relay. If not, run `saldo relay` separately.",
    )
    seals_enabled: bool = Field(
        True,
        description="Whether the relay's process seals the log, so that changes of history can be detected "
        "(docs/howto/prove.md).",
    )
    rabbitmq_url: Annotated[str | None, Unset] = Field(
        None,
        description="URL of a RabbitMQ broker, as amqp://user:password@host:port/vhost or amqps://. All events are "
        "published to an exchange there.",
    )
    rabbitmq_exchange: str = Field(
        "saldo", min_length=1, max_length=255, description="Name of the topic exchange."
    )
    rabbitmq_stream_url: Annotated[str | None, Unset] = Field(
        None,
        description="URL of a RabbitMQ broker with the stream plugin, as rabbitmq-stream://user:password@host:port/"
        "vhost or rabbitmq-stream+tls://. All events are published to a stream there.",
    )
    rabbitmq_stream: str = Field(
        "saldo", min_length=1, max_length=255, description="Name of the stream."
    )
    rabbitmq_stream_bytes_max: int = Field(
        10 * 1024**3,
        ge=1024**2,
        description="Maximum size of the stream, in bytes, if Saldo creates it. At the limit the broker deletes the "
        "oldest events.",
    )
    rabbitmq_ca_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="File with the certificate authority that signed the broker's certificate (PEM). By default the "
        "system's authorities are trusted.",
    )
    rabbitmq_declare: bool = Field(
        True,
        description="Whether Saldo declares the exchange and the stream. If not, they must exist.",
    )
    relay_batch_events_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Maximum number of events that are published before the sink must confirm them.",
    )
    relay_poll_seconds: float = Field(
        0.25,
        gt=0,
        le=60,
        description="Interval at which the relay polls the log. The service on the same machine also wakes it after "
        "each batch.",
    )
    relay_lease_seconds: float = Field(
        10.0,
        ge=1,
        le=300,
        description="Duration of a relay's lease on a sink. After the failure of a relay another one takes over "
        "within this time.",
    )
    relay_publish_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="Timeout for a sink's confirmation of a batch of events."
    )

    @field_validator("rabbitmq_url")
    @classmethod
    def _check_amqp_url(cls, url: str | None) -> str | None:
        if url is not None and parse_scheme(url) not in {"amqp", "amqps"}:
            raise ValueError("expected amqp://user:password@host:port/vhost, or amqps://")
        return check_unambiguous_url(url)

    @field_validator("rabbitmq_stream_url")
    @classmethod
    def _check_stream_url(cls, url: str | None) -> str | None:
        schemes = {"rabbitmq-stream", "rabbitmq-stream+tls"}
        if url is not None and parse_scheme(url) not in schemes:
            raise ValueError(
                "expected rabbitmq-stream://user:password@host:port/vhost, or rabbitmq-stream+tls://"
            )
        return check_unambiguous_url(url)


class AuditSettings(SettingsSection):
    """The audit in the background."""

    audit_entries_per_second: int = Field(
        2000,
        ge=0,
        le=1_000_000,
        description="Maximum number of entries per second that the audit in the background checks. While transactions "
        "are posted, it checks a quarter of that number. 0 disables the audit.",
    )
