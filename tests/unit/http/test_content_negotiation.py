"""The header `Accept`: every value is parsed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from saldo.http.content_negotiation import prefers_lines
from saldo.observability.exposition import render_metrics

LINES = b"application/x-ndjson"
JSON = b"application/json"


@pytest.mark.parametrize(
    ("accept", "lines"),
    [
        (b"", False),
        (b"*/*", False),
        (b"text/html", False),
        (JSON, False),
        (LINES, True),
        (LINES.upper() + b" ; charset=utf-8", True),
        (LINES + b", */*", True),
        (b"*/*, " + LINES, True),
        (LINES + b";q=0.1, */*", False),
        (LINES + b", " + JSON, True),
        (JSON + b", " + LINES, False),
        (JSON + b", " + LINES + b";q=0.5", False),
        (JSON + b";q=0.4, " + LINES + b";q=0.5", True),
        (LINES + b";q=0", False),
        (LINES + b";q=0.000", False),
        (LINES + b", " + JSON + b";q=0", True),
        (LINES + b";q=inf", True),
        (JSON + b";q=1e400", False),
    ],
)
def test_lines_are_for_clients_that_ask_for_them(accept: bytes, lines: bool) -> None:
    assert prefers_lines(accept) is lines


PARTS = [LINES, JSON, b"*/*", b";", b",", b" ", b"=", b'"', b"q=", b";q=", b"nan", b"inf", b"1e400"]


@given(st.lists(st.sampled_from([*PARTS, b"-1", b"\xff", b"0.5", b"q"]), max_size=15).map(b"".join))
def test_every_accept_header_is_accepted(accept: bytes) -> None:
    assert prefers_lines(accept) in {True, False}


@pytest.mark.parametrize(
    "accept", ["text/plain;version=ru", "a;q=nan", "application/openmetrics-text;"]
)
def test_accept_header_never_fails_a_scrape(accept: str) -> None:
    found = render_metrics(
        accept, "0", CollectorRegistry(), has_several_workers=False, wakeup_path=None
    )
    assert b"saldo_build_info" in found.body
