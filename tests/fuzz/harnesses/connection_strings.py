"""Connection strings: hosts as libpq reads them, and never a part of a password in what is shown."""

from __future__ import annotations

from saldo.settings import WrongSettingsError, load
from saldo.store.url import hosts_of, shown
from tests.fuzz.harnesses import text_of

SECRET = "S3CR3T"


def check(data: bytes) -> None:
    """Any text; and a string with a password that the bytes stand around, quoted or not."""
    text = text_of(data)
    for url in (text, f"postgresql://{text}"):
        shown(url)
        for host, port in hosts_of(url):
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
        assert SECRET not in shown(url), url
    url = urls[len(data) % len(urls)]  # one only: settings take their time
    try:
        load(database_url=url)
    except WrongSettingsError as error:
        assert SECRET not in str(error), url
