"""Connection strings: hosts as libpq parses them, and no part of a password in the displayed form."""

from __future__ import annotations

from saldo.settings.environment import SettingsError
from saldo.settings.model import load_settings
from saldo.store.connections.url import format_url, list_hosts
from tests.fuzz.harnesses import text_of

SECRET = "S3CR3T"

SETTINGS = (
    ("database_url", "postgresql"),
    ("database_owner_url", "postgresql"),
    ("database_replica_url", "postgresql"),
    ("rabbitmq_url", "amqp"),
    ("rabbitmq_stream_url", "rabbitmq-stream"),
    ("tracing_url", "https"),
    ("jwt_jwks_url", "https"),
)
"""Settings that are connection strings or URLs, with a scheme of each."""


def check(data: bytes) -> None:
    """Check any text, and strings in which the input surrounds a password, quoted or not."""
    text = text_of(data)
    for url in (text, f"postgresql://{text}"):
        format_url(url)
        for host, port in list_hosts(url):
            assert host
            assert 1 <= port <= 65_535
    before, _, after = text.replace(SECRET, "").partition("|")
    urls = (
        f"postgresql://saldo:{before}{SECRET}{after}@db.example:5432/saldo",
        f"postgresql://db.example/saldo?password={before}{SECRET}{after}",
        f"postgresql://saldo:x@db.example/saldo?user=a&password={SECRET}@{after}",
        f"host=db.example {before} password={SECRET}{after}",
        f"postgres:saldo:{before}{SECRET}{after}@db.example",
    )
    for url in urls:
        assert SECRET not in format_url(url), url
    # Only one of them is checked, because parsing settings is slow.
    url = urls[len(data) % len(urls)]
    setting, scheme = SETTINGS[sum(data) % len(SETTINGS)]
    url = url.replace("postgresql://", f"{scheme}://", 1)
    try:
        load_settings(**{setting: url})
    except SettingsError as error:
        assert SECRET not in str(error), url
