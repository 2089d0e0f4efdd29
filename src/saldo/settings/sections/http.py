"""Settings of database reads and pages, and of the HTTP server."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FilePath

from saldo.settings.section import SettingsSection
from saldo.settings.validators import Unset


class ReadSettings(SettingsSection):
    """Database reads, and pages of lists."""

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


class BodySettings(SettingsSection):
    """Limits of request bodies, arrays, and streams of lines."""

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
        description="Maximum number of lines of a stream that are posted together. Larger chunks do not increase the "
        "throughput.",
    )
    stream_chunks_in_flight_max: int = Field(
        4,
        ge=1,
        le=1000,
        description="Maximum number of chunks of one stream that are posted at the same time. Further lines are read "
        "later.",
    )
    spool_bytes_max: int = Field(
        67_108_864,
        ge=0,
        description="Maximum size, in bytes, of the temporary files of one stream. They contain the responses that the "
        "client has not read yet. The default is enough for about 500,000 lines. At the limit the service "
        "stops reading the stream's lines until the client reads.",
    )
    process_spool_bytes_max: int = Field(
        1_073_741_824,
        ge=1_048_576,
        description="Maximum size, in bytes, of the temporary files of all streams of a process, so that clients that "
        "do not read can't fill the disk. One key may use half of it. At the limit new streams are "
        "rejected with 503.",
    )
    key_streams_max: int = Field(
        32,
        ge=1,
        le=10_000,
        description="Maximum number of streams of lines that one key may have open in one process. More streams do not "
        "increase the throughput, and each may use temporary files. Further streams are rejected with 503.",
    )


class ConnectionSettings(SettingsSection):
    """HTTP connections, with the limits and timeouts of requests."""

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
        description="Timeout for the head of a request. The time begins when the connection is opened, or with the "
        "first byte of a later request.",
    )
    body_timeout_seconds: float = Field(
        30.0, gt=0, le=3600, description="Timeout for the body of a request that is not a stream."
    )
    stream_idle_timeout_seconds: float = Field(
        60.0,
        gt=0,
        le=86_400,
        description="Maximum time between two pieces of a stream of transactions. Time in which the service is not "
        "ready to read does not count. A client can send an empty line to keep the stream open.",
    )
    response_write_timeout_seconds: float = Field(
        30.0,
        gt=0,
        le=3600,
        description="Time after which the connection of a client that does not read its response is closed.",
    )


class TlsSettings(SettingsSection):
    """TLS."""

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
        description="Time for which browsers that have visited the service over HTTPS refuse to use HTTP (max-age of "
        "Strict-Transport-Security). 0 omits the header.",
    )
