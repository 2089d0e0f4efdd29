"""Every setting and every limit of Saldo: name, unit, default, reason.

Read from the environment (prefix ``SALDO_``) and from ``.env`` in the working directory; the
environment wins. What belongs here: numbers and names an operator may want to change. What does
not: the bounds that are part of the schema (`saldo.ledger.money`), which nobody may change.
"""

from __future__ import annotations

import os
import re
from datetime import timedelta, tzinfo
from importlib.util import find_spec
from io import StringIO
from ipaddress import IPv4Network, IPv6Network, ip_network
from pathlib import Path
from typing import Annotated, Final, Literal
from zoneinfo import ZoneInfo

from dotenv.parser import parse_stream
from pydantic import (
    BeforeValidator,
    Field,
    FilePath,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails
from pydantic_settings import BaseSettings, SettingsConfigDict

from saldo.access.provider import ALGORITHMS
from saldo.access.secret import SECRET_LENGTH_MAX, SECRET_LENGTH_MIN
from saldo.ledger.money import AMOUNT_MAX, BALANCE_MAX
from saldo.ledger.time import FUTURE_TOLERANCE_MAX
from saldo.observability.logs import LogFormat

TRACING_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")
"""What the extra `tracing` brings."""


_KEY = re.compile(r"[A-Za-z0-9._~+/=-]+", re.ASCII)
_ORIGIN = re.compile(r"https?://[a-z0-9.-]+(:[0-9]{1,5})?|https?://\[[0-9a-f:]+\](:[0-9]{1,5})?")
_JWKS_URL = re.compile(r"https://.+|http://(localhost|127\.0\.0\.1|\[::1\])(:[0-9]+)?/.*", re.ASCII)

SECRET_SUFFIXES = ("_url", "_secret", "_password", "_key")
"""Of the names of settings that may hold a password."""


class WrongSettingsError(Exception):
    """The settings can't be used. The message is one line for the operator."""


def _none_if_empty(value: object) -> object:
    """``SALDO_X=`` in a `.env` file means "not set", as its reader expects."""
    return None if value == "" else value


Unset = BeforeValidator(_none_if_empty)


def _listed(text: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in text.split(",") if part.strip())


def _networks(text: str | None) -> tuple[IPv4Network | IPv6Network, ...]:
    return tuple(ip_network(part) for part in _listed(text or ""))


def _scheme_of(url: str) -> str:
    """Not by urllib: what it says of a URL that it can't read may be a part of a password."""
    return url.partition("://")[0].lower()


def _installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ModuleNotFoundError:
        return False  # nor is what it is part of


LANES_BY_NODE: Final = 4
"""For each node that has shards of a distributed ledger, where a batch is of one of them."""


class Settings(BaseSettings):
    """All settings. Limits carry their unit in the name and their reason beside them."""

    model_config = SettingsConfigDict(
        env_prefix="SALDO_",
        env_file=".env",
        env_file_encoding="utf-8",
        extra="ignore",
        frozen=True,
    )

    # --- where it listens and what it runs on -------------------------------------------------
    host: str = Field("127.0.0.1", min_length=1, description="Address to listen on.")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0: a free one.")
    workers: int = Field(1, ge=1, le=64, description="Service processes behind the one port.")
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: LogFormat = Field(
        "auto",
        description="console: to be read; json: a JSON object a line; auto: by whether it is a terminal.",
    )
    slow_seconds: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="Requests and batches that take so long are logged with their parts.",
    )
    tracing_url: Annotated[str | None, Unset] = Field(
        None,
        description="http://host:4318/v1/traces: spans go to an OpenTelemetry collector there. "
        "Needs the extra saldo[tracing].",
    )
    tracing_ratio: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Of the requests that are traced, if their client hasn't decided that (traceparent).",
    )

    # --- who may ask --------------------------------------------------------------------------
    insecure: bool = Field(
        False,
        description="Without any key, listen on other addresses than loopback all the same: whoever "
        "reaches the service "
        "may then do everything.",
    )
    admin_key: Annotated[SecretStr | None, Unset] = Field(
        None,
        description="A key of your own with the scope admin, at least 32 characters, beside those of `saldo keys`: "
        "for set-ups that come up by themselves.",
    )
    metrics_key: Annotated[SecretStr | None, Unset] = Field(
        None, description="The same with the scope metrics: for Prometheus."
    )
    keys_max: int = Field(1000, ge=1, le=10_000, description="Valid keys: all are kept in memory.")
    keys_refresh_seconds: float = Field(
        1.0,
        gt=0,
        le=60,
        description="How often a process looks for changes of the keys: for so long it may still let in a revoked one.",
    )
    key_overlap_seconds: int = Field(
        86_400,
        ge=0,
        le=31_536_000,
        description="How long a key that was replaced stays valid, unless something else is said.",
    )
    rate_per_second: Annotated[float | None, Unset] = Field(
        None,
        gt=0,
        le=1_000_000,
        description="Requests a second of one key, or of one subject of tokens, in the long run; "
        "each transaction of an array "
        "or a stream counts. Of each process by itself: with several, as many times. Not set: any number.",
    )
    rate_burst: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Requests at once, after a rest, where there is such a limit.",
    )
    proxies: Annotated[str | None, Unset] = Field(
        None,
        description="Networks of your proxies, with commas: whose X-Forwarded-For is believed, for "
        "keys that are limited "
        "to networks. Not set: nobody's.",
    )
    cors_origins: Annotated[str | None, Unset] = Field(
        None,
        description="Origins, with commas, such as https://shop.example: their pages may ask the service from a "
        "browser. Not set: none but its own.",
    )
    jwt_issuer: Annotated[str | None, Unset] = Field(
        None,
        description="Tokens of this identity provider are taken, too: their claim iss. Needs the next ones.",
    )
    jwt_audience: Annotated[str | None, Unset] = Field(
        None, description="What their claim aud must name: this service."
    )
    jwt_jwks_url: Annotated[str | None, Unset] = Field(
        None, description="Where the provider's public keys are: https://..., a JWK set."
    )
    jwt_jwks_file: Annotated[FilePath | None, Unset] = Field(
        None, description="The same as a file, in place of the URL."
    )
    jwt_algorithms: str = Field(
        "RS256,PS256,ES256,EdDSA",
        description="The algorithms that are taken, with commas; none of those with a shared secret.",
    )
    jwt_leeway_seconds: float = Field(
        30.0, ge=0, le=600, description="How far the provider's clock may be off."
    )
    jwt_refresh_seconds: float = Field(
        300.0, gt=0, le=86_400, description="How often the provider's keys are asked for again."
    )
    jwt_scope_claim: str = Field(
        "scope",
        min_length=1,
        description="The claim with the scopes: a string with spaces, or a list.",
    )
    jwt_scope_prefix: str = Field(
        "", description="What comes before read, write, metrics and admin there, such as saldo: ."
    )
    jwt_users_claim: Annotated[str | None, Unset] = Field(
        None,
        description="The claim with the user id, or a list of them, that a token is about; one "
        "without is about nobody. "
        "Not set: each token is about all users.",
    )

    database_url: Annotated[str | None, Unset] = Field(
        None,
        description="PostgreSQL >= 15, as postgresql://user:password@host:port/database. "
        "Not set: the embedded server in `data_dir`.",
    )
    database_owner_url: Annotated[str | None, Unset] = Field(
        None,
        description="The same database as the role that owns the schema; used for migrations only. "
        "Not set: `database_url`.",
    )
    database_replica_url: Annotated[str | None, Unset] = Field(
        None,
        description="A streaming replica of the same database, or several hosts of which the first that answers is "
        "taken: it reads lists, balances at dates and what the console draws, as far as it has got. Not set: "
        "`database_url` reads everything.",
    )
    data_dir: Path = Field(Path("data"), description="Directory of the embedded PostgreSQL.")
    wal_archive_dir: Annotated[Path | None, Unset] = Field(
        None,
        description="Where the embedded PostgreSQL keeps every change, for a restore to any moment after a "
        "`saldo backup`: another disk, with room. Not set: nowhere.",
    )

    # --- what money and time mean here ---------------------------------------------------------
    zone: Annotated[str | None, Unset] = Field(
        None,
        description="IANA zone of times given without one. Not set: the machine's own (TZ).",
    )
    currency_decimals: int = Field(
        2, ge=0, le=8, description="Decimals of the currency; fixed when the ledger is created."
    )

    # --- limits: the rules of the ledger ------------------------------------------------------
    amount_max_minor: int = Field(
        AMOUNT_MAX, ge=1, le=AMOUNT_MAX, description="Greatest amount of one transaction."
    )
    balance_max_minor: int = Field(
        BALANCE_MAX,
        ge=1,
        le=BALANCE_MAX,
        description="Greatest balance; a deposit above is refused.",
    )
    future_tolerance_seconds: int = Field(
        300,
        ge=0,
        le=int(FUTURE_TOLERANCE_MAX.total_seconds()),
        description="How far ahead of the ledger's clock a timestamp may be: clocks differ, but "
        "tomorrow's money must not be spent today.",
    )
    max_lateness_seconds: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        description="How long before the user's latest timestamp a new one may be. Not set: any. "
        "Set: it bounds the cost of a balance at a date.",
    )
    late_check_entries_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Entries a late withdrawal's check may read under the shard's lock (10,000 take "
        "about 5 ms).",
    )
    name_length_max: int = Field(200, ge=1, le=200, description="Characters of a user's name.")

    # --- limits: the engine -------------------------------------------------------------------
    lanes: Annotated[int | None, Unset] = Field(
        None,
        ge=1,
        le=64,
        description="Connections that post, each with one batch in flight. Not set: as many as this "
        "machine has processors, from 2 to 8; set it where the database has more. With a distributed ledger: for each "
        "worker, 4.",
    )
    connect_to_workers: bool = Field(
        True,
        description="With a distributed ledger lanes connect to the workers themselves, by the rest of "
        "`SALDO_DATABASE_URL`; to one that can't be reached from here, and if this is `false` to all, by way "
        "of the coordinator.",
    )
    split_requests_min: int = Field(
        100,
        ge=1,
        le=1_000_000,
        description="Requests waiting before lanes work side by side: a batch of its own costs the "
        "database as much as twenty transactions more.",
    )
    batch_requests_max: int = Field(
        2000, ge=1, le=20_000, description="Requests of one batch: bounds how long locks are held."
    )
    queue_requests_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Requests waiting in one process; one more is answered 503 at once.",
    )
    queue_wait_seconds_max: float = Field(
        0.1,
        gt=0,
        le=3600,
        description="A single transaction that would wait for longer, by what those before it have waited, is answered "
        "503 at once: better some are told to come again than all are answered late.",
    )
    request_deadline_seconds: float = Field(
        10.0, gt=0, le=3600, description="How long one request may wait for its outcome."
    )
    batch_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="After this a lane gives its connection up and sends the batch again on another.",
    )
    stop_seconds: float = Field(
        20.0, gt=0, le=3600, description="How long a stop waits for what is in flight."
    )
    drain_seconds: float = Field(
        0.0,
        ge=0,
        le=3600,
        description="How long a service that is told to stop still serves, not ready, so that balancers and clients "
        "can go elsewhere. 0: none of them is there.",
    )

    # --- limits: reading and HTTP ---------------------------------------------------------------
    read_connections: int = Field(4, ge=1, le=100, description="Connections that read.")
    read_timeout_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="How long one read may take, the wait for a connection too.",
    )
    page_items_max: int = Field(1000, ge=1, le=10_000, description="Items of one page.")
    page_items_default: int = Field(
        100, ge=1, le=10_000, description="Items if `limit` is not given."
    )
    page_entries_read_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Entries one page may read to find its items; a filtered page may come short.",
    )
    body_bytes_max: int = Field(
        65_536, ge=256, le=16_777_216, description="Bytes of a request's body."
    )
    array_bytes_max: int = Field(
        4_194_304,
        ge=256,
        le=268_435_456,
        description="Bytes of a JSON array of transactions, which is read whole.",
    )
    array_items_max: int = Field(
        5000,
        ge=1,
        le=20_000,
        description="Transactions of a JSON array: an atomic one holds the shards' locks for all of them "
        "(about 0.1 s). NDJSON has no such limit.",
    )
    chunk_requests_max: int = Field(
        500,
        ge=1,
        le=20_000,
        description="Lines of a stream that are posted together; more cost the database no less each.",
    )
    chunks_max: int = Field(
        4, ge=1, le=1000, description="Chunks of one stream under way: the rest is not read yet."
    )
    spool_bytes_max: int = Field(
        1_073_741_824,
        ge=0,
        description="Answers kept in temporary files for a client that sends all before it reads; "
        "beyond that its lines wait.",
    )
    connections_max: int = Field(
        10_000, ge=1, le=1_000_000, description="Open HTTP connections of one process."
    )
    keep_alive_seconds: int = Field(
        75, ge=1, le=3600, description="How long an idle HTTP connection is kept."
    )

    head_bytes_max: int = Field(
        16_384,
        ge=8192,
        le=1_048_576,
        description="Bytes of a request before its body: the first line and the headers.",
    )
    headers_max: int = Field(100, ge=10, le=10_000, description="Headers of a request.")
    url_bytes_max: int = Field(8192, ge=256, le=65_536, description="Bytes of a request's URL.")
    head_seconds: float = Field(
        10.0,
        gt=0,
        le=3600,
        description="How long a request's first line and headers may take, from the connection or its first byte on.",
    )
    body_seconds: float = Field(
        30.0, gt=0, le=3600, description="How long a request's body may take, if it is no stream."
    )
    stream_stall_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="A stream of transactions that sends nothing for so long, though we read, is ended. "
        "An empty line keeps it.",
    )
    answer_stall_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="A client that takes nothing of its answer for so long is cut.",
    )

    # --- TLS ----------------------------------------------------------------------------------
    tls_certificate_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="Certificate of the service and those between it and its authority (PEM): HTTPS instead of HTTP.",
    )
    tls_key_file: Annotated[FilePath | None, Unset] = Field(
        None, description="The certificate's private key (PEM), without a password."
    )
    tls_look_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="How often the two files are looked at; renewed ones are used without a restart.",
    )
    hsts_seconds: int = Field(
        31_536_000,
        ge=0,
        description="How long a browser that came by TLS comes only so (Strict-Transport-Security); 0: not said.",
    )

    # --- the relay ----------------------------------------------------------------------------
    relay: bool = Field(
        True,
        description="Whether `saldo serve` relays the log too; else `saldo relay` must run somewhere.",
    )
    seals: bool = Field(
        True,
        description="Whether the relay's process seals the log, so that history can't be changed unseen "
        "(docs/howto/prove.md).",
    )
    rabbitmq_url: Annotated[str | None, Unset] = Field(
        None,
        description="amqp://user:password@host:port/vhost (or amqps://): every event goes to an exchange there.",
    )
    rabbitmq_exchange: str = Field(
        "saldo", min_length=1, max_length=255, description="The topic exchange."
    )
    rabbitmq_stream_url: Annotated[str | None, Unset] = Field(
        None,
        description="rabbitmq-stream://user:password@host:port/vhost (or rabbitmq-stream+tls://): every "
        "event goes to a stream there.",
    )
    rabbitmq_stream: str = Field("saldo", min_length=1, max_length=255, description="The stream.")
    rabbitmq_stream_bytes_max: int = Field(
        10 * 1024**3,
        ge=1024**2,
        description="Bytes of the stream, if Saldo creates it: beyond, the broker drops the oldest events.",
    )
    rabbitmq_ca_file: Annotated[FilePath | None, Unset] = Field(
        None,
        description="Who has signed the broker's certificate (PEM); unset: those whom the system trusts.",
    )
    rabbitmq_declare: bool = Field(
        True, description="Whether exchange and stream are created; else they must exist."
    )
    relay_batch_events_max: int = Field(
        1000, ge=1, le=100_000, description="Events sent before they must be confirmed."
    )
    relay_poll_seconds: float = Field(
        0.25,
        gt=0,
        le=60,
        description="How often the relay looks by itself; it is woken when its own service has posted.",
    )
    relay_lease_seconds: float = Field(
        10.0, ge=1, le=300, description="After this another relay takes over from one that is dead."
    )
    relay_publish_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="How long a sink may take to confirm a batch."
    )

    # --- the audit in the background ------------------------------------------------------------
    audit_entries_per_second: int = Field(
        2000,
        ge=0,
        le=1_000_000,
        description="How many entries of the log are audited in the background at most, round after round; a "
        "quarter of it while somebody posts. 0: none.",
    )

    # --- the live stream ------------------------------------------------------------------------
    events_subscribers_max: int = Field(
        2000,
        ge=1,
        le=100_000,
        description="Subscribers of the live stream in one process; one more is answered 503.",
    )
    events_buffer_bytes_max: int = Field(
        1_048_576,
        ge=1024,
        le=268_435_456,
        description="Bytes of events that may wait for one subscriber; with more it is cut off, and can resume.",
    )
    events_stall_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="A subscriber that takes nothing for so long is cut off, and can resume.",
    )
    events_heartbeat_seconds: float = Field(
        15.0,
        gt=0,
        le=3600,
        description="After so long without an event a comment is sent: proxies close silent connections.",
    )
    events_users_max: int = Field(
        100, ge=1, le=1000, description="Users of one subscription that is to some users only."
    )

    # --- the console ----------------------------------------------------------------------------
    console: bool = Field(True, description="Whether there are pages for people at /console.")
    console_idle_seconds: int = Field(
        1800,
        ge=60,
        le=604_800,
        description="How long who is signed in may do nothing: then the session is over.",
    )
    console_session_seconds: int = Field(
        43_200,
        ge=60,
        le=2_592_000,
        description="How long a session lasts at most (12 hours).",
    )
    console_sessions_of_key_max: int = Field(
        20,
        ge=1,
        le=1000,
        description="Sessions of one key; with one more the one that was used least lately ends.",
    )
    console_chart_points_max: int = Field(
        2000,
        ge=100,
        le=10_000,
        description="Points of a chart: with more a browser gets slow, and nobody sees them.",
    )
    console_chart_entries_max: int = Field(
        20_000,
        ge=100,
        le=1_000_000,
        description="Entries that a chart reads to show each of them (20,000 take less than 0.1 s); for a range with "
        "more the balance is asked for at moments at equal distances.",
    )

    # --- webhooks -----------------------------------------------------------------------------
    webhooks: bool = Field(
        True,
        description="Whether the relay delivers to webhooks, too; they are created by the API.",
    )
    webhook_allow_private: bool = Field(
        False,
        description="Whether webhooks may reach loopback, link-local and private addresses: else whoever may "
        "create one could ask your own network.",
    )
    webhook_timeout_seconds: float = Field(
        10.0, gt=0, le=300, description="How long an endpoint may take to answer."
    )
    webhook_concurrency: int = Field(
        8, ge=1, le=100, description="Deliveries under way at one endpoint, each of another user."
    )
    webhook_backoff_seconds_min: float = Field(
        1.0,
        gt=0,
        le=3600,
        description="Until the first retry; twice as long until each further one.",
    )
    webhook_backoff_seconds_max: float = Field(
        3600.0,
        gt=0,
        le=86_400,
        description="Between retries at most, also if the endpoint asks for more.",
    )
    webhook_retry_seconds_max: float = Field(
        259_200.0,
        gt=0,
        le=31_536_000,
        description="How long an event is tried (3 days); then it is dead until it is replayed.",
    )
    webhook_disable_seconds: float = Field(
        432_000.0,
        gt=0,
        le=31_536_000,
        description="After so long without a success (5 days) the endpoint is disabled.",
    )
    webhook_pending_max: int = Field(
        10_000,
        ge=1,
        le=1_000_000,
        description="Events that wait for one endpoint; beyond that it gets nothing new, and lags behind the log.",
    )
    webhook_old_secret_seconds: float = Field(
        86_400.0,
        ge=0,
        le=31_536_000,
        description="How long a secret that was replaced goes on signing, beside the new one.",
    )
    webhooks_max: int = Field(
        100, ge=1, le=10_000, description="Webhooks in all: each of them reads the log by itself."
    )
    webhook_users_max: int = Field(
        1000, ge=1, le=100_000, description="Users that a webhook may be limited to."
    )
    webhook_url_length_max: int = Field(
        2000, ge=20, le=10_000, description="Characters of a webhook's URL."
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

    @field_validator("proxies")
    @classmethod
    def _are_networks(cls, networks: str | None) -> str | None:
        try:
            _networks(networks)
        except ValueError:
            raise ValueError("expected networks such as 10.0.0.0/8,2001:db8::/32") from None
        return networks

    @field_validator("cors_origins")
    @classmethod
    def _are_origins(cls, origins: str | None) -> str | None:
        # As browsers write them. No "*": whoever means every page must name them.
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
        # Whoever can change what comes from there can make tokens.
        if url is not None and not _JWKS_URL.fullmatch(url):
            raise ValueError("expected https://host/path; http only of this machine")
        return url

    @model_validator(mode="after")
    def _names_a_whole_provider(self) -> Settings:
        given = (self.jwt_issuer, self.jwt_audience, self.jwt_jwks_url or self.jwt_jwks_file)
        if any(given) and not all(given):
            raise ValueError(
                "SALDO_JWT_ISSUER, SALDO_JWT_AUDIENCE and SALDO_JWT_JWKS_URL or SALDO_JWT_JWKS_FILE: "
                "all of them or none"
            )
        if self.jwt_jwks_url and self.jwt_jwks_file:
            raise ValueError("SALDO_JWT_JWKS_URL and SALDO_JWT_JWKS_FILE: one of them")
        return self

    @field_validator("zone")
    @classmethod
    def _zone_exists(cls, zone: str | None) -> str | None:
        if zone is not None:
            try:
                ZoneInfo(zone)
            except (KeyError, ValueError, OSError):
                raise ValueError("expected an IANA zone such as Europe/Berlin or UTC") from None
        return zone

    @field_validator("tracing_url")
    @classmethod
    def _can_be_traced_to(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if _scheme_of(url) not in {"http", "https"}:
            raise ValueError("expected http://host:4318/v1/traces")
        if not all(map(_installed, TRACING_PACKAGES)):
            raise ValueError("needs packages that are not installed: pip install 'saldo[tracing]'")
        return url

    @field_validator("rabbitmq_url")
    @classmethod
    def _is_amqp(cls, url: str | None) -> str | None:
        if url is not None and _scheme_of(url) not in {"amqp", "amqps"}:
            raise ValueError("expected amqp://user:password@host:port/vhost, or amqps://")
        return url

    @field_validator("rabbitmq_stream_url")
    @classmethod
    def _is_rabbitmq_stream(cls, url: str | None) -> str | None:
        schemes = {"rabbitmq-stream", "rabbitmq-stream+tls"}
        if url is not None and _scheme_of(url) not in schemes:
            raise ValueError(
                "expected rabbitmq-stream://user:password@host:port/vhost, or rabbitmq-stream+tls://"
            )
        return url

    @field_validator("database_url", "database_owner_url", "database_replica_url")
    @classmethod
    def _is_postgresql(cls, url: str | None) -> str | None:
        if url is None:
            return None
        if _scheme_of(url) not in {"postgresql", "postgres"}:
            raise ValueError("expected postgresql://user:password@host:port/database")
        return url

    @property
    def proxy_networks(self) -> tuple[IPv4Network | IPv6Network, ...]:
        """Of the proxies."""
        return _networks(self.proxies)

    @property
    def cors_origin_names(self) -> tuple[str, ...]:
        """Those whose pages may ask."""
        return _listed(self.cors_origins or "")

    @property
    def jwt_algorithm_names(self) -> tuple[str, ...]:
        """Those that are taken."""
        return _listed(self.jwt_algorithms)

    @property
    def tzinfo(self) -> tzinfo | None:
        """The zone of times given without one; None: the machine's own."""
        return None if self.zone is None else ZoneInfo(self.zone)

    @property
    def future_tolerance(self) -> timedelta:
        return timedelta(seconds=self.future_tolerance_seconds)

    def lane_count(self, *, by_shard: bool) -> int:
        """`lanes`, or what fits the processors, if that is not set; `by_shard`: of each node of the ledger."""
        return self.lanes or (LANES_BY_NODE if by_shard else min(max(2, os.cpu_count() or 2), 8))

    @property
    def max_lateness(self) -> timedelta | None:
        seconds = self.max_lateness_seconds
        return None if seconds is None else timedelta(seconds=seconds)


def load(**overrides: object) -> Settings:
    """The settings of this process.

    Raises:
        WrongSettingsError: one line that names each wrong setting and what is expected.
    """
    _check_env_file(Path(".env"))
    given = {name: value for name, value in overrides.items() if value is not None}
    try:
        return Settings(**given)  # type: ignore[arg-type]
    except ValidationError as error:
        raise WrongSettingsError("; ".join(map(_told, error.errors()))) from None


def _told(fault: ErrorDetails) -> str:
    """A fault in one line. Of several settings together the message names them."""
    message, location = fault["msg"].removeprefix("Value error, "), fault["loc"]
    if not location:
        return message
    return f"{_name_of(location)}={_shown(location, fault['input'])}: {fault['msg']}"


def _name_of(location: tuple[int | str, ...]) -> str:
    return f"SALDO_{'_'.join(str(part) for part in location).upper()}"


def _shown(location: tuple[int | str, ...], value: object) -> str:
    """A wrong value, for the operator. One that may hold a password only says that it is not shown."""
    if any(str(part).endswith(SECRET_SUFFIXES) for part in location):
        return "(not shown)"
    return repr(value)


def _check_env_file(path: Path) -> None:
    """Refuses what its reader would pass over: a line it can't read, a name that is no setting.

    With SALDO_DATABASE_URL misspelt, the money would go into another ledger.
    """
    if not path.is_file():
        return
    try:
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise WrongSettingsError(f".env can't be read: {error}") from None
    for binding in parse_stream(StringIO(text)):
        original = binding.original.string
        line = binding.original.line + original[: -len(original.lstrip())].count("\n")
        if binding.error:
            raise WrongSettingsError(f".env line {line}: expected NAME=value")
        name = (binding.key or "").upper()
        setting = name.removeprefix("SALDO_")
        if setting != name and setting.lower() not in Settings.model_fields:
            raise WrongSettingsError(f".env line {line}: no setting is named {name}")
