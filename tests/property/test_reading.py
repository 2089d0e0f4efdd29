"""The fast parser of plain bodies against the full parser: it accepts nothing that the full parser would not."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import example, given, settings
from hypothesis import strategies as st

from saldo.ledger.model import TransactionRequest
from saldo.parsing import transactions
from saldo.parsing.faults import InvalidRequestError
from saldo.parsing.transactions import ParserOptions, parse_fast_path, parse_transaction

READING = ParserOptions(zone=None, decimals=2, amount_max_minor=10**15, name_length_max=200)
UUID = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"

_uuids = st.sampled_from(
    [
        UUID,
        UUID.upper(),
        UUID.replace("-", ""),
        f"{{{UUID}}}",
        f"urn:uuid:{UUID}",
        UUID[:-1],
        "",
        None,
        "00000000-0000-0000-0000-000000000000",
        "ea3015b1c25c-47e5-beb7-2679ac7c89a7",
        f" {UUID}",
    ]
)
_users = st.one_of(
    st.integers(-2, 2**64),
    st.sampled_from(["1", "01", "1.0", "", "x", "9" * 30, True, None, 1.0, 1.5, [1], "٣"]),
)
_amounts = st.one_of(
    st.sampled_from(
        ["1", "1.0", "1.25", "1.255", "0", "-1", "1e3", "", "٣", "1" * 50, 1, 1.5, None]
    ),
    st.text(max_size=4),
)
_timestamps = st.sampled_from(
    [
        None,
        "",
        "2024-01-01",
        "2024-01-01T00:00:00Z",
        "2024-01-01T00-00-00",
        "now",
        5,
        "0001-01-01T00:00:00Z",
    ]
)
_keys = st.sampled_from(
    ["uuid", "uid", "type", "amount", "user_id", "timestamp", "timestmp", "a\\u0062"]
)
_values: dict[str, st.SearchStrategy[Any]] = {
    "uuid": _uuids,
    "uid": _uuids,
    "type": st.sampled_from(["DEPOSIT", "WITHDRAW", "deposit", "", None, 1]),
    "amount": _amounts,
    "user_id": _users,
    "timestamp": _timestamps,
}


@st.composite
def bodies(draw: st.DrawFn) -> bytes:
    """Return almost valid bodies: fields missing, repeated, misspelt, of a wrong type, escaped."""
    names = ["uuid", "type", "amount", "user_id"]
    names += draw(st.lists(_keys, max_size=2))
    if draw(st.integers(0, 3)) == 0:
        names.remove(draw(st.sampled_from(names)))
    pairs = []
    for name in draw(st.permutations(names)):
        value = draw(_values.get(name, st.just(1)))
        text = json.dumps(value, ensure_ascii=draw(st.booleans()))
        pairs.append(f'"{name}"{draw(st.sampled_from(["", " "]))}:{text}')
    body = "{" + ",".join(pairs) + "}" + draw(st.sampled_from(["", "", "\n", "x", "{}"]))
    return body.encode("utf-8", "surrogatepass")


def _parse_slowly(body: bytes) -> TransactionRequest | None:
    """Parse a body without the fast parser."""
    quick, transactions.parse_fast_path = transactions.parse_fast_path, lambda *_: None
    try:
        return parse_transaction(body, None, READING)
    except InvalidRequestError:
        return None
    finally:
        transactions.parse_fast_path = quick


@settings(max_examples=3000, deadline=None)
@given(body=bodies())
@example(
    body=f'{{"uuid":"{UUID}","type":"DEPOSIT","amount":"1","amount":"2","user_id":1}}'.encode()
)
@example(
    body=f'{{"uuid":"{UUID}","type":"DEPOSIT","amount":"1","user_id":"1","user_id":1}}'.encode()
)
@example(body=f'{{"uuid":"{UUID}","type":"DEPOSIT","amount":"1","user_id":1.0}}'.encode())
@example(body=f'{{"uuid":"{UUID}","type":"DEPOSIT","amount":"\xff","user_id":1}}'.encode("latin-1"))
def test_fast_parser_agrees_with_the_complete_parser(body: bytes) -> None:
    quick = parse_fast_path(body, READING)
    assert quick is None or quick == _parse_slowly(body)


def test_fast_parser_accepts_the_plain_form() -> None:
    for user_id in ("7", '"7"'):
        for timestamp in ("", ',"timestamp":null', ',"timestamp":"2024-01-01T00:00:00Z"'):
            body = (
                f'{{"uuid": "{UUID}", "type": "WITHDRAW", "amount": "1.5", '
                f'"user_id": {user_id}{timestamp}}}'
            ).encode()
            assert parse_fast_path(body, READING) == _parse_slowly(body) is not None
