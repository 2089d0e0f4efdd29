"""Parameters of connection strings, which must have the same meaning for both drivers.

libpq (psycopg) and asyncpg support different parameters, and asyncpg sends unknown ones to the server. Each parameter
is therefore passed on to asyncpg, implemented in this package, ignored because its value makes no difference, or
rejected before any connection is opened.
"""

from __future__ import annotations

import socket
from typing import Any, Final, NamedTuple
from urllib.parse import quote

import psycopg

from saldo.encoding.urls import (
    HINT,
    InvalidUrlError,
    is_port,
    list_parameter_names,
    parse_strict_url,
)
from saldo.store.errors import ConfigurationError

PASSED_ON: Final = frozenset(
    {
        *("user", "password", "dbname", "passfile", "options", "application_name"),
        *("sslmode", "sslcert", "sslkey", "sslrootcert", "sslcrl", "sslpassword", "sslnegotiation"),
        *("ssl_min_protocol_version", "ssl_max_protocol_version"),
        *("target_session_attrs", "krbsrvname", "gsslib"),
    }
)
"""Parameters that asyncpg implements in the same way as libpq."""

KEEPALIVES: Final = {
    "keepalives_idle": "TCP_KEEPIDLE",
    "keepalives_interval": "TCP_KEEPINTVL",
    "keepalives_count": "TCP_KEEPCNT",
    "tcp_user_timeout": "TCP_USER_TIMEOUT",
}
"""Parameters that set socket options, with the option names of the operating system."""

IMPLEMENTED_HERE: Final = frozenset(
    {"host", "port", "connect_timeout", "keepalives", "load_balance_hosts", *KEEPALIVES}
)

IGNORED_VALUES: Final = {
    "channel_binding": {"prefer", "disable"},
    "gssencmode": {"prefer", "disable"},
    "gssdelegation": {"0"},
    "sslcompression": {"0", "1"},  # no server has it any more
    "sslsni": {"1"},
    "sslcertmode": {"allow"},
    "client_encoding": {"auto", "UTF8", "utf8", "UTF-8", "utf-8"},
    "min_protocol_version": {"3.0"},
    "max_protocol_version": {"3.0", "latest"},
}
"""Parameters with those values that are accepted and ignored, because they select the behaviour that applies anyway."""

OTHER_DRIVERS_PARAMETERS: Final = frozenset(
    {
        *("pgbouncer", "schema", "connection_limit", "pool_timeout", "pool_size", "socket_timeout"),
        *("sslaccept", "sslidentity", "sslfactory", "currentSchema", "prepareThreshold"),
        *("statement_cache_size", "search_path", "charset", "serverVersion", "reload", "supa"),
        *("prepared_statement_cache_size", "command_timeout", "timeout"),
    }
)
"""Parameters of other drivers, which hosting services put into connection strings."""

_INTEGERS: Final = frozenset({"connect_timeout", "keepalives", *KEEPALIVES})

ADVICE: Final = {
    "channel_binding": "leave it out, and say sslmode=verify-full with sslrootcert instead",
}


class DriverOptions(NamedTuple):
    """The options with which asyncpg connects.

    Attributes:
        url: The connection string without hosts.
        connect_seconds: The timeout of one attempt; None if the connection string sets none.
        socket_options: The socket options by the operating system's names.
        shuffles_hosts: Whether the hosts are tried in random order.
    """

    url: str
    connect_seconds: float | None
    socket_options: dict[str, int]
    shuffles_hosts: bool


def check_connection_string(url: str) -> dict[str, str]:
    """Return the parameters of a connection string that both drivers can use.

    Raises:
        ConfigurationError: The string is invalid, or a parameter can't be used. The message names the parameter and
            contains no part of any value.
    """
    try:
        names = list_parameter_names(parse_strict_url(url).query)
        path = parse_strict_url(url).path
    except InvalidUrlError as error:
        raise ConfigurationError(f"the connection string can't be used: {error}") from None
    if not url.startswith(("postgresql://", "postgres://")):
        raise ConfigurationError("expected postgresql://user:password@host:port/database")
    if "/" in path[1:]:
        raise ConfigurationError(
            f"the connection string can't be used: it has an unexpected /: {HINT}"
        )
    for name in names:
        if name in OTHER_DRIVERS_PARAMETERS:
            raise ConfigurationError(
                f"the connection string can't be used: the parameter {name} belongs to other drivers: remove it"
            )
    try:
        parsed = psycopg.conninfo.conninfo_to_dict(url)
    except (psycopg.Error, ValueError):
        raise ConfigurationError(
            "the connection string can't be used: PostgreSQL does not know one of its parameters. Check the "
            f"names after the question mark; or {HINT}"
        ) from None
    parameters = {name: str(value) for name, value in parsed.items() if value not in {None, ""}}
    for name, value in parameters.items():
        _check_parameter(name, value)
    hosts, ports = parameters.get("host", "").split(","), parameters.get("port", "").split(",")
    if len(ports) not in {1, len(hosts)} or not all(each == "" or is_port(each) for each in ports):
        raise ConfigurationError(
            "the connection string can't be used: expected one port, or one port for each host"
        )
    return parameters


def _check_parameter(name: str, value: str) -> None:
    if name in _INTEGERS and not (value.isascii() and value.isdigit() and len(value) <= 9):
        raise ConfigurationError(
            f"the connection string can't be used: {name} must be a whole number from 0 to 999999999"
        )
    if name == "load_balance_hosts" and value not in {"disable", "random"}:
        raise ConfigurationError(
            "the connection string can't be used: load_balance_hosts must be disable or random"
        )
    if (name, value) == ("sslrootcert", "system"):
        # asyncpg would look for a file of this name. The wheel of psycopg contains an OpenSSL of its own, which has no
        # authorities of the system.
        raise ConfigurationError(
            "the connection string can't be used: sslrootcert=system is not supported: name the file with the system's "
            "certificate authorities, such as /etc/ssl/certs/ca-certificates.crt, and say sslmode=verify-full"
        )
    if (
        name in PASSED_ON | IMPLEMENTED_HERE
        or value in IGNORED_VALUES.get(name, ())
        or name == "fallback_application_name"
    ):
        return
    possible = " or ".join(sorted(IGNORED_VALUES.get(name, ())))
    advice = ADVICE.get(name, f"use {possible}" if possible else "remove it")
    raise ConfigurationError(
        f"the connection string can't be used: this value of {name} is not supported: {advice}"
    )


def build_driver_options(url: str) -> DriverOptions:
    """Return the options with which asyncpg connects to the servers of a connection string.

    Raises:
        ConfigurationError: The connection string can't be used, see `check_connection_string`.
    """
    parameters = check_connection_string(url)
    passed_parameters = {name: value for name, value in parameters.items() if name in PASSED_ON}
    query = "&".join(f"{name}={quote(value, safe='')}" for name, value in passed_parameters.items())
    sockets = {
        option: int(parameters[name])
        for name, option in KEEPALIVES.items()
        if int(parameters.get(name, "0")) > 0
    }
    if "keepalives" in parameters:
        sockets["SO_KEEPALIVE"] = int(parameters["keepalives"] != "0")
    seconds = float(parameters.get("connect_timeout", "0"))
    return DriverOptions(
        f"postgresql://?{query}",
        seconds or None,
        sockets,
        parameters.get("load_balance_hosts") == "random",
    )


def set_socket_options(connection: Any, options: dict[str, int]) -> None:
    """Set the socket options of a TCP connection. Options that the operating system does not have are ignored."""
    socket_ = connection._transport.get_extra_info("socket")
    if not options or socket_ is None or socket_.family == socket.AF_UNIX:
        return
    for name, value in options.items():
        level = socket.SOL_SOCKET if name.startswith("SO_") else socket.IPPROTO_TCP
        option = getattr(socket, name, None)
        if option is not None:
            socket_.setsockopt(level, option, value)
