"""Strict checks of URLs that may contain a password, made before any library parses them, and of path prefixes.

If a password contains a character that is not percent-encoded but should be, parsers end the password there, and take
the rest of it for a port, a host or a database. Libraries print these parts in their messages. A URL must therefore be
unambiguous here, and error messages quote nothing of it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple

HINT: Final = "percent-encode / ? # @ [ ] % and spaces in user, password and database (@ is %40)"

PORT_MAX: Final = 65_535

_BROKEN_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})|%00")
_HOST: Final = re.compile(r"(?:[A-Za-z0-9._~-]|%[0-9A-Fa-f]{2}|[^\x00-\x7f])*")
_LITERAL: Final = re.compile(r"\[[0-9A-Fa-f:.%A-Za-z]+\](?P<rest>.*)")
_NAME: Final = re.compile(r"[A-Za-z_]+", re.ASCII)


PATH_PREFIX_LENGTH_MAX: Final = 200
"""Maximum length of a path prefix in characters. It is sent with every link and cookie of a page."""

_PATH_PREFIX: Final = re.compile(r"(?:/(?!\.{1,2}(?:/|$))[A-Za-z0-9._~-]+)+", re.ASCII)


class InvalidUrlError(ValueError):
    """Raised when a URL is ambiguous or malformed. The message quotes nothing of the URL."""


class UrlParts(NamedTuple):
    """The parts of a URL, as written.

    Attributes:
        hosts: the hosts, each as `host:port`. In the URL they are separated by commas.
    """

    scheme: str
    account: str
    hosts: tuple[str, ...]
    path: str
    query: str


def is_path_prefix(text: str) -> bool:
    """Return whether a text is a path such as `/ledger` or `/a/b`.

    The path is written into links, redirects and cookies without any escaping. Therefore it may contain letters,
    digits and `.`, `_`, `~` and `-` only, and no segment may be empty, `.` or `..`. In particular, `//host` is not a
    path prefix, because a browser would take it for another site.
    """
    return len(text) <= PATH_PREFIX_LENGTH_MAX and _PATH_PREFIX.fullmatch(text) is not None


def parse_strict_url(url: str) -> UrlParts:
    """Return the parts of an unambiguous URL.

    Raises:
        InvalidUrlError: the URL is ambiguous or malformed.
    """
    scheme, separator, rest = url.partition("://")
    if not separator or not re.fullmatch(r"[A-Za-z][A-Za-z0-9+.-]*", scheme):
        raise InvalidUrlError("expected scheme://user:password@host:port/path")
    if any(not each.isprintable() or each.isspace() for each in url):
        raise InvalidUrlError(f"it contains a space or a control character: {HINT}")
    if "#" in url or _BROKEN_PERCENT.search(url):
        raise InvalidUrlError(f"it contains a # or a % that is not percent-encoded: {HINT}")
    authority = re.split(r"[/?]", rest, maxsplit=1)[0]
    after = rest[len(authority) :]
    account, at, hosts = authority.rpartition("@")
    if "@" in account + after:
        raise InvalidUrlError(f"it contains an unexpected @ or /: {HINT}")
    if "[" in account + after or "]" in account + after:
        raise InvalidUrlError(f"it contains brackets outside the host: {HINT}")
    for host in hosts.split(","):
        _check_host(host)
    path, _, query = after.partition("?")
    if "?" in query:
        raise InvalidUrlError(f"it contains an unexpected ?: {HINT}")
    return UrlParts(scheme, account if at else "", tuple(hosts.split(",")), path, query)


def _check_host(host_text: str) -> None:
    literal = _LITERAL.fullmatch(host_text)
    if literal is None:
        host, colon, port = host_text.partition(":")
        wrong = _HOST.fullmatch(host) is None
    else:
        colon, port = literal["rest"][:1], literal["rest"][1:]
        wrong = colon not in {"", ":"}
    if wrong:
        raise InvalidUrlError(f"a host is invalid: {HINT}")
    if colon and not is_port(port):
        raise InvalidUrlError(f"a port is not a number from 1 to {PORT_MAX}: {HINT}")


def is_port(text: str) -> bool:
    """Return whether the text is a port number."""
    return text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= PORT_MAX


def list_parameter_names(query: str) -> list[str]:
    """Return the names of a query's parameters.

    Raises:
        InvalidUrlError: a parameter is not `name=value`.
    """
    names = []
    for each in query.split("&") if query else ():
        name, equals, value = each.partition("=")
        if not equals or "=" in value or not _NAME.fullmatch(name):
            raise InvalidUrlError(
                f"a parameter must be name=value: {HINT}, and also & and = in values"
            )
        names.append(name)
    return names
