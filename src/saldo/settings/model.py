"""Every setting and every limit of Saldo, with its unit, default and reason.

Settings are read from the environment (prefix ``SALDO_``) and from ``.env`` in the working directory. The environment
takes precedence. This module contains the values that an operator may want to change. Bounds that are part of the
schema can't be changed; they are in `saldo.ledger.money`.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta, tzinfo
from importlib.util import find_spec
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal, TypeAlias
from zoneinfo import ZoneInfo

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from saldo.auth.api_key import SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from saldo.auth.identity_provider import ALGORITHMS
from saldo.encoding.urls import parse_strict_url
from saldo.ledger.instants import FUTURE_TOLERANCE_MAX
from saldo.ledger.money import AMOUNT_MAX, BALANCE_MAX
from saldo.observability.logs import LogFormat
from saldo.settings.environment import SettingsError, check_names, is_service_link

TRACING_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
"""Packages that the extra `tracing` installs."""


_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_HOST = re.compile(r"[A-Za-z0-9_-]+(\.[A-Za-z0-9_-]+)*\.?", re.ASCII)
_PORT = re.compile("[0-9]{1,5}", re.ASCII)
_JWKS_URL = re.compile(r"https://.+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?/.*", re.ASCII)

SECRET_SUFFIXES = ("_url", "_secret", "_password", "_key")
"""Endings of the names of settings whose value may contain a password."""


def _one_reading(url: str | None) -> str | None:
    """Reject a URL of which a library would print a part of the password as a port or a host."""
    if url is not None:
        parse_strict_url(url)
    return url


def _none_if_empty(value: object) -> object:
    """Replace an empty value by None: ``SALDO_X=`` in a `.env` file unsets a setting."""
    return None if value == "" else value


Unset = BeforeValidator(_none_if_empty)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _networks(text: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part) for part in _listed(text or ""))


def _scheme_of(url: str) -> str:
    """Return a URL's scheme, without urllib, whose error messages can contain a part of the password."""
    return url.partition("://")[0].lower()


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False  # its parent package is not installed


def _existing_zone(zone: str | None) -> str | None:
    try:
        _zone_of(zone)
    except (KeyError, ValueError, OSError):
        raise ValueError("expected an IANA zone such as Europe/Berlin or UTC") from None
    return zone


def _zone_of(name: str | None) -> tzinfo | None:
    return None if name is None else ZoneInfo(name)


ZoneName: TypeAlias = Annotated[str | None, Unset, AfterValidator(_existing_zone)]

_ENV_FILE: Final = Path(".env")

_MODEL_CONFIG: Final = SettingsConfigDict(
    env_prefix="SALDO_",
    env_file=_ENV_FILE,
    env_file_encoding="utf-8",
    extra="ignore",
    frozen=True,
)


class _ZoneSettings(BaseSettings):
    """The time zone alone, for commands that use a service on another machine."""

    model_config = _MODEL_CONFIG

    timezone: ZoneName = None


LANES_BY_NODE: Final = 4
"""Default number of lanes per node of a distributed ledger, where a batch contains one shard only."""


class Settings(BaseSettings):
    """All settings. The name of a limit ends in its unit, and the description gives its reason."""

    model_config = _MODEL_CONFIG

    # --- where it listens and what it runs on -------------------------------------------------
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
        description="Whether the service and the relay may run as root. A start as root is refused by default, because "
        "a fault in a process of root could give away the whole machine.",
    )

    # --- authentication and access ------------------------------------------------------------
    insecure: bool = Field(
        False,
        description="Whether to listen on other addresses than loopback while there is no key. Anyone who reaches the "
        "service then has full access.",
    )
    hosts: Annotated[str | None, Unset] = Field(
        None,
        description="Host names of the service, separated by commas. While SALDO_INSECURE is set and there is no key, "
        "requests must have one of them in the Host header. Addresses and localhost are always accepted; "
        "other names are rejected, because a web page can make its own name resolve to this service (DNS "
        "rebinding).",
    )
    admin_key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="API key with the scope admin that is defined here and not in the database, at least 32 "
        "characters. For deployments that are set up automatically.",
    )
    metrics_key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="API key with the scope metrics that is defined here and not in the database, at least 32 "
        "characters. For Prometheus.",
    )
    keys_max: int = Field(
        1000,
        ge=1,
        le=10_000,
        description="Maximum number of valid API keys. All of them are kept in memory.",
    )
    keys_refresh_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="Interval at which each process reloads changed keys. A revoked key may be accepted for this "
        "long.",
    )
    key_overlap_seconds: int = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="Default time for which a key remains valid after it was rotated.",
    )
    rate_requests_per_second: Annotated[float | None, Unset] = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Rate limit: average requests per second of one key, or of one subject of tokens. Each "
        "transaction of an array or a stream counts as a request. Every process applies the limit "
        "separately. By default there is no limit.",
    )
    rate_burst: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Requests that a key may send at once after a pause, if there is a rate limit.",
    )
    rate_debt_seconds_max: float = Field(
        60.0,
        ge=0,
        le=86_400,
        description="Longest time for which an array of transactions may delay the key's next request, if there is a "
        "rate limit. Larger arrays are rejected with 422.",
    )
    trusted_proxies: Annotated[str | None, Unset] = Field(
        None,
        description="Networks of trusted proxies, separated by commas. Their X-Forwarded-For header gives the "
        "client's address, which matters for keys that are limited to networks. By default no proxy is "
        "trusted.",
    )
    cors_origins: Annotated[str | None, Unset] = Field(
        None,
        description="Origins, separated by commas, whose pages may call the API from a browser (CORS), such as "
        "https://shop.example. By default only the service's own pages may.",
    )
    jwt_issuer: Annotated[str | None, Unset] = Field(
        None,
        description="Issuer (claim iss) of the JSON Web Tokens that are accepted in addition to API keys. Requires "
        "the audience and the public keys below.",
    )
    jwt_audience: Annotated[str | None, Unset] = Field(
        None, description="Audience (claim aud) that a token must name: this service."
    )
    jwt_jwks_url: Annotated[str | None, Unset] = Field(
        None, description="URL of the identity provider's public keys (a JWK set), with https."
    )
    jwt_jwks_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="File with the identity provider's public keys (a JWK set), as an alternative to the URL.",
    )
    jwt_algorithms: str = Field(
        "RS256,PS256,ES256,EdDSA",
        description="Signature algorithms that are accepted, separated by commas. Algorithms with a shared secret are "
        "not supported.",
    )
    jwt_leeway_seconds: float = Field(
        30.0, ge=0, le=600, description="Tolerance for the identity provider's clock."
    )
    jwt_refresh_seconds: float = Field(
        300.0,
        gt=0,
        le=86_400,
        description="Interval at which the identity provider's public keys are fetched again.",
    )
    jwt_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="Claim that contains the scopes, as a string separated by spaces or as a list.",
    )
    jwt_scope_prefix: str = Field(
        "",
        description="Prefix of the scopes read, write, metrics and admin in a token, such as saldo: .",
    )
    jwt_types: str = Field(
        "at+jwt,JWT",
        description="Accepted values of a token's header typ, separated by commas. A token without that header counts "
        "as JWT. With at+jwt alone only access tokens as defined in RFC 9068 are accepted.",
    )
    jwt_lifetime_seconds_max: Annotated[int | None, Unset] = Field(
        86_400,
        ge=1,
        description="Longest accepted time between the issue (claim iat) and the expiry of a token, which can't be "
        "revoked before it expires. For a token without iat the time counts from now. If empty, there is "
        "no limit.",
    )
    jwt_users_claim: Annotated[str | None, Unset] = Field(
        None,
        description="Claim with the user id, or a list of user ids, that a token is limited to. If this is set, a "
        "token without the claim can access no user. By default every token can access all users.",
    )

    # --- the database and its data -------------------------------------------------------------
    database_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string of a PostgreSQL 15 or newer, as postgresql://user:password@host:port/database. "
        "By default the embedded server in SALDO_DATA_DIR is used.",
    )
    database_owner_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string for the same database, as the role that owns the schema. It is used for "
        "migrations only. The default is SALDO_DATABASE_URL.",
    )
    database_replica_url: Annotated[str | None, Unset] = Field(
        None,
        description="Connection string of a streaming replica of the same database. With several hosts the first that "
        "answers is used. The replica reads lists, balances at dates and charts as far as it has received "
        "the log. By default SALDO_DATABASE_URL is used for all reads.",
    )
    data_dir: Path = Field(Path("data"), description="Directory of the embedded PostgreSQL.")
    wal_archive_dir: Annotated[Path | None, Unset] = Field(
        None,
        description="Directory in which the embedded PostgreSQL archives its WAL, for a restore to any time after a "
        "`saldo backup`. It should be on another disk. By default nothing is archived.",
    )

    # --- what money and time mean here ---------------------------------------------------------
    timezone: ZoneName = Field(
        None,
        description="IANA time zone of times without an offset. The default is the zone of the machine (TZ).",
    )
    currency_decimals: int = Field(
        2,
        ge=0,
        le=8,
        description="Number of decimals of the currency. It is fixed when the ledger is created.",
    )

    # --- limits: the rules of the ledger ------------------------------------------------------
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
        description="How far a timestamp may be ahead of the ledger's clock. It allows for differences between "
        "clocks, and must be small: tomorrow's money must not be spent today.",
    )
    max_lateness_seconds: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        description="Maximum lateness: how far a timestamp may be before the user's latest one. A limit also bounds "
        "the cost of a balance at a date. By default there is none.",
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
        description="Maximum number of entries that are read to check all late withdrawals of one batch. Those of one "
        "user share one read. Further late withdrawals are decided in the next batch, so that other users "
        "do not wait for them; in an atomic array they are refused as `late_check_too_long`.",
    )
    name_length_max: int = Field(
        200, ge=1, le=200, description="Maximum length of a user's name, in characters."
    )

    # --- limits: the engine -------------------------------------------------------------------
    lanes: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        le=64,
        description="Number of lanes: connections that post, with one batch in flight each. The default is the number "
        "of the machine's processors, but at least 2 and at most 8. Set it if the database has more "
        "processors. On a distributed ledger the default is 4 for each worker.",
    )
    connect_to_workers: bool = Field(
        True,
        description="Whether lanes of a distributed ledger connect directly to the Citus workers, with the user, the "
        "password and the options of SALDO_DATABASE_URL. If this is false, or if a worker can't be "
        "reached, lanes use the coordinator.",
    )
    parallel_lanes_requests_min: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Number of waiting requests from which on several lanes work in parallel. A separate batch costs "
        "the database as much as twenty transactions.",
    )
    batch_requests_max: int = Field(
        2000,
        ge=1,
        le=20_000,
        description="Maximum number of requests in one batch. It limits how long locks are held.",
    )
    queue_requests_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of requests that wait in one process. Further requests are rejected with 503.",
    )
    queue_wait_seconds_max: float = Field(
        0.1,
        gt=0,
        le=3600,
        description="Maximum waiting time in the queue, estimated from the waiting times of recent requests. A single "
        "transaction that would wait longer is rejected with 503 at once, because under overload it is "
        "better to reject some requests than to answer all of them late.",
    )
    request_deadline_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Deadline of one request: the maximum time from its arrival to its outcome.",
    )
    batch_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Timeout of one batch. After 90 % of it PostgreSQL cancels the statement, and the lane bisects "
        "the batch. After all of it the lane closes the connection and sends the batch again on a new "
        "one.",
    )
    shutdown_timeout_seconds: float = Field(
        20.0,
        gt=0,
        le=3600,
        description="Maximum time for which a stopping service waits for requests in flight.",
    )
    shutdown_delay_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="Time between the signal to stop and the end of listening. The service reports that it is not "
        "ready, and still answers requests, so that load balancers and clients can move on. 0 disables "
        "draining, for deployments without a load balancer.",
    )

    # --- limits: reading and HTTP ---------------------------------------------------------------
    read_connections: int = Field(
        4, ge=1, le=100, description="Number of database connections for reads."
    )
    read_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Timeout of one read, including the wait for a connection.",
    )
    page_items_max: int = Field(
        1000, ge=1, le=10_000, description="Maximum number of items on one page."
    )
    page_items_default: int = Field(
        100, ge=1, le=10_000, description="Number of items on a page if the request has no `limit`."
    )
    page_scan_entries_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of entries that are read to fill one page. A filtered page may therefore have "
        "fewer items than its limit.",
    )
    body_bytes_max: int = Field(
        65_536, ge=256, le=16_777_216, description="Maximum size of a request's body, in bytes."
    )
    array_bytes_max: int = Field(
        4_194_304,
        ge=256,
        le=268_435_456,
        description="Maximum size of a JSON array of transactions, in bytes. The service reads the whole array into "
        "memory.",
    )
    array_items_max: int = Field(
        5000,
        ge=1,
        le=20_000,
        description="Maximum number of transactions in a JSON array. An atomic array locks its shards until all of "
        "them are decided (about 0.1 s). The limit does not apply to NDJSON.",
    )
    chunk_requests_max: int = Field(
        500,
        ge=1,
        le=20_000,
        description="Number of lines of a stream that are posted together. Larger chunks do not make a line cheaper.",
    )
    stream_chunks_in_flight_max: int = Field(
        4,
        ge=1,
        le=1000,
        description="Maximum number of chunks of one stream that are posted at the same time. The rest is read later.",
    )
    spool_bytes_max: int = Field(
        67_108_864,
        ge=0,
        description="Maximum size of the temporary files for the responses of one stream whose client does not read "
        "yet, in bytes. The default is enough for about 500,000 lines. At the limit the service stops "
        "reading the stream's lines until the client reads.",
    )
    process_spool_bytes_max: int = Field(
        1_073_741_824,
        ge=1_048_576,
        description="Maximum size of these temporary files for all streams of a process, in bytes, so that clients "
        "that do not read can't fill the disk. One key may use half of it. At the limit new streams are "
        "rejected with 503.",
    )
    key_streams_max: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Maximum number of streams of lines that one key may have open in one process. More streams are "
        "not faster, and each may use temporary files. Further streams are rejected with 503.",
    )
    connections_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of open HTTP connections in one process.",
    )
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="Time after which an idle HTTP connection is closed."
    )

    head_bytes_max: int = Field(
        16_384,
        ge=8192,
        le=1_048_576,
        description="Maximum size of a request's head (the request line and the headers), in bytes.",
    )
    headers_max: int = Field(
        100, ge=10, le=10_000, description="Maximum number of headers in one request."
    )
    url_bytes_max: int = Field(
        8192, ge=256, le=65_536, description="Maximum length of a request's URL, in bytes."
    )
    header_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="Timeout for the head of a request, from the connection or from the request's first byte on.",
    )
    body_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="Timeout for the body of a request that is not a stream."
    )
    stream_idle_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Timeout between two pieces of a stream of transactions, while the service is ready to read. A "
        "client can send an empty line to keep the stream open.",
    )
    response_write_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Timeout for a client that does not read its response. The connection is closed.",
    )

    # --- TLS ----------------------------------------------------------------------------------
    tls_certificate_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="File with the certificate of the service and the intermediate certificates (PEM). If it is set, "
        "the service uses HTTPS instead of HTTP.",
    )
    tls_key_file: Annotated[FilePath | None, Unset] = Field(
        None, description="File with the certificate's private key (PEM), without a password."
    )
    tls_reload_interval_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Interval at which the two TLS files are checked for changes. Renewed files are used without a "
        "restart.",
    )
    hsts_max_age_seconds: int = Field(
        31_536_000,
        ge=0,
        description="Time for which browsers use HTTPS only after a first visit over HTTPS (max-age of "
        "Strict-Transport-Security). 0 omits the header.",
    )

    # --- the relay ----------------------------------------------------------------------------
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
        description="URL of a RabbitMQ broker with the stream plugin, as "
        "rabbitmq-stream://user:password@host:port/vhost or rabbitmq-stream+tls://. All events are published to "
        "a stream there.",
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

    # --- the audit in the background ------------------------------------------------------------
    audit_entries_per_second: int = Field(
        2000,
        ge=0,
        le=1_000_000,
        description="Maximum number of entries per second that the audit in the background checks. While transactions "
        "are posted, it checks a quarter of that number. 0 disables the audit.",
    )

    # --- the live stream ------------------------------------------------------------------------
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
        description="Maximum number of subscribers of the live stream in one process with the same key, or with the "
        "same subject of tokens. Further subscribers are rejected with 429. The default is half of all "
        "subscribers, so that one key can't use up the stream.",
    )
    events_buffer_bytes_max: int = Field(
        1_048_576,
        ge=1024,
        le=268_435_456,
        description="Maximum size of the events that are buffered for one subscriber, in bytes. At the limit the "
        "subscriber is disconnected; it can resume.",
    )
    events_write_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Timeout for a subscriber that does not read. It is disconnected, and can resume.",
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

    # --- the console ----------------------------------------------------------------------------
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

    # --- webhooks -----------------------------------------------------------------------------
    webhooks_enabled: bool = Field(
        True,
        description="Whether the relay delivers events to webhooks, which are created with the API.",
    )
    webhook_allow_private: bool = Field(
        False,
        description="Whether webhooks may reach loopback, link-local and private addresses. If they may, anyone who "
        "can create a webhook can send requests into your network.",
    )
    webhook_allow_http: bool = Field(
        False,
        description="Whether webhooks may have URLs with http. Names, balances and signatures are then sent "
        "unencrypted. If they may not, events for existing webhooks with http are not sent.",
    )
    webhook_deny: Annotated[str | None, Unset] = Field(
        None,
        description="Networks, separated by commas, to which no webhook is sent, even if other settings allow them: "
        "your own public addresses, or 169.254.0.0/16 if SALDO_WEBHOOK_ALLOW_PRIVATE is set.",
    )
    webhook_ports: Annotated[str | None, Unset] = Field(
        None,
        description="Ports, separated by commas, to which webhooks may be sent, such as 443,8443. By default all "
        "ports are allowed.",
    )
    webhook_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="Timeout of one delivery attempt."
    )
    webhook_concurrency: int = Field(
        8,
        ge=1,
        le=100,
        description="Maximum number of concurrent deliveries to one endpoint. Each is of another user.",
    )
    webhook_backoff_seconds_min: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="Time until the first retry of a delivery. It doubles with each further retry.",
    )
    webhook_backoff_seconds_max: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        description="Maximum time between two retries, also if the endpoint asks for more.",
    )
    webhook_give_up_seconds: float = Field(
        259_200.0,
        gt=0,
        le=31_536_000,
        description="Time for which a delivery is retried (3 days by default). After that the delivery is dead until "
        "it is replayed.",
    )
    webhook_disable_after_seconds: float = Field(
        432_000.0,
        gt=0,
        le=31_536_000,
        description="Time without a successful delivery after which a webhook is disabled (5 days by default).",
    )
    webhook_pending_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Maximum number of pending deliveries of one webhook. At the limit the webhook gets no new "
        "events, and its lag grows.",
    )
    webhook_secret_overlap_seconds: float = Field(
        86_400.0,
        ge=0,
        le=31_536_000,
        description="Time for which a replaced secret still signs deliveries, together with the new one.",
    )
    webhooks_max: int = Field(
        100,
        ge=1,
        le=10_000,
        description="Maximum number of webhooks. Each of them reads the log separately.",
    )
    webhook_users_max: int = Field(
        1000,
        ge=1,
        le=100_000,
        description="Maximum number of users to which one webhook can be limited.",
    )
    webhook_url_length_max: int = Field(
        2000, ge=20, le=10_000, description="Maximum length of a webhook's URL, in characters."
    )

    @field_validator("admin_key", "metrics_key")
    @classmethod
    def _is_long_enough(cls, key: SecretStr | None) -> SecretStr | None:
        if key is not None:
            text = key.get_secret_value()
            if not SECRET_LENGTH_MIN <= len(text) <= SECRET_LENGTH_MAX or not _KEY.fullmatch(text):
                raise ValueError(
                    f"expected {SECRET_LENGTH_MIN} to {SECRET_LENGTH_MAX} of the characters A-Z a-z 0-9 - _ . ~ + / ="
                )
        return key

    @field_validator("webhook_ports")
    @classmethod
    def _are_ports(cls, ports: str | None) -> str | None:
        if not all(
            _PORT.fullmatch(port) and 0 < int(port) < 65_536 for port in _listed(ports or "")
        ):
            raise ValueError("expected ports such as 443,8443")
        return ports

    @field_validator("trusted_proxies", "webhook_deny")
    @classmethod
    def _are_networks(cls, networks: str | None) -> str | None:
        try:
            _networks(networks)
        except ValueError:
            raise ValueError("expected networks such as 10.0.0.0/8,2001:db8::/32") from None
        return networks

    @field_validator("hosts")
    @classmethod
    def _are_host_names(cls, names: str | None) -> str | None:
        if not all(_HOST.fullmatch(name) for name in _listed(names or "")):
            raise ValueError("expected host names without a port, such as saldo,ledger.example")
        return names

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str | None) -> str | None:
        # The format is that of browsers. "*" is not supported: operators must list the origins.
        if not all(_ORIGIN.fullmatch(origin) for origin in _listed(origins or "")):
            raise ValueError("expected origins such as https://shop.example,http://localhost:3000")
        return origins

    @field_validator("jwt_algorithms")
    @classmethod
    def _are_algorithms(cls, names: str) -> str:
        if not set(_listed(names)) <= set(ALGORITHMS) or not _listed(names):
            raise ValueError(f"expected some of {','.join(ALGORITHMS)}")
        return names

    @field_validator("jwt_jwks_url")
    @classmethod
    def _is_web_address(cls, url: str | None) -> str | None:
        # Anyone who can change the response of this URL can issue tokens.
        if url is not None and not _JWKS_URL.fullmatch(url):
            raise ValueError("expected https://host/path; http is accepted for this machine only")
        return _one_reading(url)

    @model_validator(mode="after")
    def _names_a_whole_provider(self) -> Settings:
        given = (self.jwt_issuer, self.jwt_audience, self.jwt_jwks_url or self.jwt_jwks_file)
        if any(given) and not all(given):
            raise ValueError(
                "SALDO_JWT_ISSUER, SALDO_JWT_AUDIENCE and SALDO_JWT_JWKS_URL or SALDO_JWT_JWKS_FILE: "
                "set all of them or none"
            )
        if self.jwt_jwks_url and self.jwt_jwks_file:
            raise ValueError("SALDO_JWT_JWKS_URL and SALDO_JWT_JWKS_FILE: set only one of them")
        return self

    @field_validator("tracing_url")
    @classmethod
    def _can_be_traced_to(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if _scheme_of(url) not in {"http", "https"}:
            raise ValueError("expected http://host:4318/v1/traces")
        if not all(map(_installed, TRACING_PACKAGES)):
            raise ValueError(
                "needs packages that are not installed: pip install 'saldo-ledger[tracing]'"
            )
        return _one_reading(url)

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, url: str | None) -> str | None:
        if url is not None and _scheme_of(url) not in {"amqp", "amqps"}:
            raise ValueError("expected amqp://user:password@host:port/vhost, or amqps://")
        return _one_reading(url)

    @field_validator("rabbitmq_stream_url")
    @classmethod
    def _is_rabbitmq_stream(cls, url: str | None) -> str | None:
        schemes = {"rabbitmq-stream", "rabbitmq-stream+tls"}
        if url is not None and _scheme_of(url) not in schemes:
            raise ValueError(
                "expected rabbitmq-stream://user:password@host:port/vhost, or rabbitmq-stream+tls://"
            )
        return _one_reading(url)

    @field_validator("database_url", "database_owner_url", "database_replica_url")
    @classmethod
    def _is_postgresql(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if _scheme_of(url) not in {"postgresql", "postgres"}:
            raise ValueError("expected postgresql://user:password@host:port/database")
        return _one_reading(url)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Remove variables of Kubernetes, such as SALDO_PORT=tcp://10.0.0.1:8000 of a Service named saldo."""
        if isinstance(env_settings, EnvSettingsSource):
            env_settings.env_vars = {
                name: value
                for name, value in env_settings.env_vars.items()
                if not is_service_link(name, value)
            }
        return init_settings, env_settings, dotenv_settings, file_secret_settings

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks of the trusted proxies."""
        return _networks(self.trusted_proxies)

    @property
    def webhook_denied_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """The networks to which no webhook is sent."""
        return _networks(self.webhook_deny)

    @property
    def webhook_port_numbers(self) -> frozenset[int]:
        """The ports to which webhooks may be sent. If the set is empty, all ports are allowed."""
        return frozenset(map(int, _listed(self.webhook_ports or "")))

    @property
    def host_names(self) -> tuple[str, ...]:
        """Names of the service that requests without a key may use."""
        return tuple(name.lower() for name in _listed(self.hosts or ""))

    @property
    def cors_origin_names(self) -> tuple[str, ...]:
        """The origins whose pages may call the API."""
        return _listed(self.cors_origins or "")

    @property
    def jwt_algorithm_names(self) -> tuple[str, ...]:
        """The signature algorithms that are accepted for tokens."""
        return _listed(self.jwt_algorithms)

    @property
    def jwt_type_names(self) -> tuple[str, ...]:
        """The values of the header typ that are accepted."""
        return _listed(self.jwt_types)

    @property
    def tzinfo(self) -> tzinfo | None:
        """The zone of times without an offset; None is the machine's own zone."""
        return _zone_of(self.timezone)

    @property
    def future_tolerance(self) -> timedelta:
        return timedelta(seconds=self.future_tolerance_seconds)

    def lane_count(self, *, by_shard: bool) -> int:
        """Return the number of lanes, by default one that fits the processors.

        Args:
            by_shard: Whether the ledger is distributed. The number is then that of each node.
        """
        return self.lanes or (LANES_BY_NODE if by_shard else min(max(2, os.cpu_count() or 2), 8))

    @property
    def max_lateness(self) -> timedelta | None:
        seconds = self.max_lateness_seconds
        return None if seconds is None else timedelta(seconds=seconds)


def check() -> None:
    """Reject misspelt names of settings in the environment and in `.env`.

    Raises:
        SettingsError: The message is one line with the nearest right name.
    """
    check_names(os.environ, _ENV_FILE, Settings.model_fields)


def load_zone() -> tzinfo | None:
    """Return the zone of times without an offset; None is the machine's own.

    Client commands need this one setting. The others may belong to a service that runs elsewhere.

    Raises:
        SettingsError: The zone does not exist, or a name is misspelt.
    """
    check()
    try:
        return _zone_of(_ZoneSettings().timezone)
    except ValidationError as error:
        raise SettingsError("; ".join(map(_told, error.errors()))) from None


def load(**overrides: object) -> Settings:
    """Read the settings of this process.

    Raises:
        SettingsError: The message is one line that names each wrong setting and the expected value.
    """
    check()
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise SettingsError("; ".join(map(_told, error.errors()))) from None


def _told(fault: ErrorDetails) -> str:
    """Describe a fault in one line. If it concerns several settings, its own message names them."""
    message, location = fault["msg"].removeprefix("Value error, "), fault["loc"]
    if not location:
        return message
    return f"{_name_of(location)}={_shown(location, fault['input'])}: {fault['msg']}"


def _name_of(location: tuple[int | str, ...]) -> str:
    return f"SALDO_{'_'.join(str(part) for part in location).upper()}"


def _shown(location: tuple[int | str, ...], value: object) -> str:
    """Format a wrong value for the operator, but hide it if it may contain a password."""
    if any(str(part).endswith(SECRET_SUFFIXES) for part in location):
        return "(not shown)"
    return repr(value)
