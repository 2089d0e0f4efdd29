"""Settings of the event stream over HTTP."""

from __future__ import annotations

from pydantic import Field

from saldo.settings.section import SettingsSection


class EventStreamSettings(SettingsSection):
    """The event stream."""

    events_subscribers_max: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Maximum number of subscribers of the live stream in one process. Further subscribers are "
        "rejected with 503.",
    )
    events_subscribers_of_key_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Maximum number of subscribers of the live stream in one process with the same key, or with tokens "
        "of the same subject. Further subscribers are rejected with 429. The default is half of all "
        "subscribers, so that one key can't exclude all others.",
    )
    events_buffer_bytes_max: int = Field(
        1_048_576,
        ge=1024,
        le=268_435_456,
        description="Maximum size of the events that are buffered for one subscriber, in bytes. At the limit the "
        "subscriber is disconnected. The subscriber can resume the stream.",
    )
    events_write_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Time after which a subscriber that does not read is disconnected. The subscriber can resume the "
        "stream.",
    )
    events_heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=3600,
        description="Time without an event after which a comment is sent, because proxies close idle connections.",
    )
    events_users_max: int = Field(
        100,
        ge=1,
        le=1000,
        description="Maximum number of users to which one subscription can be limited.",
    )
