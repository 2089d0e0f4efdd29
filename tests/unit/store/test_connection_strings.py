"""Connection strings: how both drivers parse them, and that no message contains a part of a password."""

from __future__ import annotations

from typing import Any
from urllib.parse import quote, unquote

import psycopg
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from saldo.encoding.urls import parse_strict_url
from saldo.settings.environment import SettingsError
from saldo.settings.model import load_settings
from saldo.store.connections.parameters import (
    IGNORED_VALUES,
    IMPLEMENTED_HERE,
    OTHER_DRIVERS_PARAMETERS,
    PASSED_ON,
    build_driver_options,
    check_connection_string,
)
from saldo.store.connections.url import list_hosts
from saldo.store.errors import ConfigurationError

SECRET = "S3CR3T"

PLAIN = "postgresql://saldo:secret@db.example:6000/saldo"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        (PLAIN, "user=saldo&password=secret&dbname=saldo"),
        (f"{PLAIN}?sslmode=require&channel_binding=prefer", "sslmode=require"),
        (f"{PLAIN}?sslmode=verify-full&sslrootcert=/a%20b/ca.pem", "sslrootcert=%2Fa%20b%2Fca.pem"),
        (
            f"{PLAIN}?options=endpoint%3Dep-1%20-c%20geqo%3Doff",
            "options=endpoint%3Dep-1%20-c%20geqo%3Doff",
        ),
        (f"{PLAIN}?application_name=a%2Bb", "application_name=a%2Bb"),
        (
            f"{PLAIN}?target_session_attrs=read-write&gssencmode=disable",
            "target_session_attrs=read-write",
        ),
        (f"{PLAIN}?krbsrvname=postgres&passfile=/x", "krbsrvname=postgres"),
        (f"{PLAIN}?sslnegotiation=direct&sslmode=require", "sslnegotiation=direct"),
        ("postgresql://saldo:a%40b%23c%2Fd%25@db.example/saldo", "password=a%40b%23c%2Fd%25"),
        ("postgresql://saldo:a:b@db.example/saldo", "password=a%3Ab"),
    ],
)
def test_parameters_passed_to_the_driver(url: str, expected: str) -> None:
    parts = build_driver_options(url).url.partition("?")[2].split("&")
    assert set(expected.split("&")) <= set(parts)
    assert not {part.partition("=")[0] for part in parts} - PASSED_ON


def test_parameters_handled_by_the_service() -> None:
    found = build_driver_options(
        f"{PLAIN}?connect_timeout=3&keepalives=1&keepalives_idle=30&keepalives_interval=5&keepalives_count=2"
        "&tcp_user_timeout=4000&load_balance_hosts=random"
    )
    assert found.connect_seconds == 3
    assert found.shuffles_hosts
    assert found.socket_options == {
        "SO_KEEPALIVE": 1,
        "TCP_KEEPIDLE": 30,
        "TCP_KEEPINTVL": 5,
        "TCP_KEEPCNT": 2,
        "TCP_USER_TIMEOUT": 4000,
    }


def test_every_libpq_parameter_is_passed_handled_or_rejected() -> None:
    names = {option.keyword.decode() for option in psycopg.pq.Conninfo.get_defaults()}
    assert len(names) > 40
    for name in (
        names - PASSED_ON - IMPLEMENTED_HERE - IGNORED_VALUES.keys() - {"fallback_application_name"}
    ):
        with pytest.raises(ConfigurationError, match=f"{name} "):
            check_connection_string(f"{PLAIN}?{name}={SECRET}")
    for name, values in IGNORED_VALUES.items():
        for value in values if name in names else ():
            check_connection_string(f"{PLAIN}?{name}={value}")
        if name in names:
            with pytest.raises(
                ConfigurationError, match=f"this value of {name} is not supported"
            ) as found:
                check_connection_string(f"{PLAIN}?{name}={SECRET}")
            assert SECRET not in str(found.value)


@pytest.mark.parametrize("name", sorted(OTHER_DRIVERS_PARAMETERS))
def test_parameters_of_other_drivers_are_named(name: str) -> None:
    with pytest.raises(ConfigurationError, match=name):
        check_connection_string(f"{PLAIN}?{name}={SECRET}")


def test_authorities_of_the_system_must_be_named_by_their_file() -> None:
    with pytest.raises(
        ConfigurationError, match="sslrootcert=system is not supported: name the file"
    ):
        build_driver_options(f"{PLAIN}?sslmode=verify-full&sslrootcert=system")


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://saldo@a,b,c/saldo?port=1,2",
        "postgresql://saldo@localhost:99999/saldo",
        "postgresql://saldo@[::1/saldo",
        "postgresql://saldo@a/saldo?nonsense=1",
        "postgresql://saldo@a/saldo?connect_timeout=soon",
        "postgresql://saldo@a/saldo?load_balance_hosts=maybe",
        "postgresql://saldo@a/one/two",
        "host=a dbname=saldo",
        "secret",
    ],
)
def test_unusable_connection_strings_are_rejected(url: str) -> None:
    with pytest.raises(ConfigurationError):
        check_connection_string(url)


URLS = [
    ("database_url", "postgresql://saldo:{}@db.example:5432/saldo?sslmode=disable"),
    ("database_url", "postgresql://db.example/saldo?user=saldo&password={}&sslmode=disable"),
    ("database_owner_url", "postgres://saldo:{}@/saldo"),
    ("database_replica_url", "postgresql://saldo:{}@a,b:6000/saldo"),
    ("rabbitmq_url", "amqp://saldo:{}@rabbit.example:5672/vhost"),
    ("rabbitmq_stream_url", "rabbitmq-stream://saldo:{}@rabbit.example/"),
    ("tracing_url", "https://saldo:{}@traces.example/v1/traces"),
    ("jwt_jwks_url", "https://saldo:{}@issuer.example/keys"),
]

ODD = st.text(alphabet="@/?#:%[]&=, '\"\\+ab1\n\t\0é\u2028", max_size=6)


@pytest.mark.parametrize(("setting", "template"), URLS)
@given(before=ODD, after=ODD)
@example(before="1/", after="")
@example(before="1?x=", after="")
@example(before="%", after="@")
@example(before="1/?dbname=", after="@a")
@example(before="x@a[", after="]x,")
@example(before="[", after="]:")
@example(before="1:", after="/b@c")
@example(before="a&", after="=1")
def test_no_message_has_a_part_of_a_password(
    setting: str, template: str, before: str, after: str
) -> None:
    """Use characters that should be percent-encoded: the string is parsed as intended, or rejected without a quote."""
    password = f"{before}{SECRET}{after}"
    url = template.format(password)
    try:
        _load(setting, url)
    except SettingsError as error:
        assert SECRET not in str(error), url
        return
    if setting.startswith("database"):
        try:
            named = check_connection_string(url)
            build_driver_options(url)
        except ConfigurationError as error:
            assert SECRET not in str(error), url
            return
        assert SECRET in named["password"]
        others = {name: value for name, value in named.items() if name != "password"}
        assert SECRET not in str(others), url
        assert SECRET not in str(list_hosts(url)), url
    else:
        address = parse_strict_url(url)
        assert SECRET in address.account
        assert SECRET not in "".join((*address.hosts, address.path, address.query)), url


def _load(setting: str, url: str) -> Any:
    others: dict[str, Any] = {}
    if setting == "jwt_jwks_url":
        others = {"jwt_issuer": "https://issuer.example", "jwt_audience": "saldo"}
    return load_settings(**{setting: url}, **others)


@given(
    st.text(
        alphabet=st.characters(blacklist_characters="\0", blacklist_categories=["Cs"]), min_size=1
    )
)
def test_percent_encoded_password_is_decoded(password: str) -> None:
    url = f"postgresql://saldo:{quote(password, safe='')}@db.example/saldo"
    assert check_connection_string(url)["password"] == password
    (written,) = (
        part
        for part in build_driver_options(url).url.partition("?")[2].split("&")
        if part.startswith("password=")
    )
    assert unquote(written.removeprefix("password=")) == password
