"""The path prefix of a request: which header is trusted, and which values are accepted."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from saldo.encoding.urls import PATH_PREFIX_LENGTH_MAX, is_path_prefix
from saldo.http.connection.path_prefix import PathPrefixes

PROXIES = (ip_network("10.0.0.0/8"), ip_network("2001:db8::/32"))


@pytest.mark.parametrize("text", ["/a", "/ledger", "/a/b", "/A.b_c~d-e", "/..a", "/a..", "/v1.2"])
def test_path_prefix_is_accepted(text: str) -> None:
    assert is_path_prefix(text)


@pytest.mark.parametrize(
    "text",
    [
        *("", "/", "a", "/a/", "//a", "/a//b", "/.", "/..", "/a/..", "/./a", "/a/../b"),
        *("//evil.example", "https://evil.example", "/\\evil.example", "/a?b", "/a#b", "/a;b"),
        *('/a"b', "/a'b", "/a<b", "/a b", "/a\r\nb", "/a\n", "/%2e%2e", "/é", "/a,/b", "/{a}"),
        "/" + "a" * PATH_PREFIX_LENGTH_MAX,
    ],
)
def test_other_text_is_not_a_path_prefix(text: str) -> None:
    assert not is_path_prefix(text)


def find(
    client: str | None, *values: bytes, setting: str | None = None, trusting: bool = True
) -> str:
    prefixes = PathPrefixes(setting, PROXIES if trusting else ())
    headers = [(b"host", b"a"), *((b"x-forwarded-prefix", value) for value in values)]
    return prefixes.find({"client": None if client is None else (client, 1), "headers": headers})


@pytest.mark.parametrize("client", ["10.1.2.3", "2001:db8::1", "::ffff:10.1.2.3"])
def test_header_of_a_trusted_proxy_takes_precedence(client: str) -> None:
    assert find(client, b"/ledger") == "/ledger"
    assert find(client, b"/ledger", setting="/other") == "/ledger"
    assert find(client, setting="/other") == "/other"


@pytest.mark.parametrize("client", ["192.0.2.1", "2001:db9::1", "nonsense", None])
def test_header_of_another_client_is_ignored(client: str | None) -> None:
    assert find(client, b"/ledger") == ""
    assert find(client, b"/ledger", setting="/other") == "/other"


def test_without_trusted_proxies_the_header_is_ignored() -> None:
    assert find("10.1.2.3", b"/ledger", trusting=False) == ""


@pytest.mark.parametrize(
    "values", [[b"//evil"], [b"/a", b"/b"], [b"/a", b"/a"], [b"/a, /b"], [b""]]
)
def test_invalid_or_repeated_header_is_ignored(values: list[bytes]) -> None:
    assert find("10.1.2.3", *values, setting="/other") == "/other"
