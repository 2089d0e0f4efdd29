"""The mapping from rows to transactions: each row gives a transaction or a reason, and derived uuids are stable."""

from __future__ import annotations

import re
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.cli.exit_codes import CommandError
from saldo.cli.importing.row_mapping import FIELDS, InvalidRowError, RowMapper, parse_mapping
from saldo.cli.importing.row_readers import Row
from saldo.client.payloads import Deposit, Withdrawal

UUID_ = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"

texts = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(["", " ", UUID_, "deposit", "WITHDRAW", "-5", "+5", "-", "posted", "0.10"]),
)


def build_mapping(*maps: str, signed: bool = False, identity: str | None = None):  # type: ignore[no-untyped-def]
    return parse_mapping(
        maps, signed=signed, deposit="DEPOSIT", withdraw="WITHDRAW", identity=identity
    )


@given(
    st.lists(texts, min_size=len(FIELDS), max_size=len(FIELDS)),
    st.booleans(),
    st.none() | st.text(min_size=1, max_size=8),
    st.integers(1, 10**9),
)
def test_every_row_gives_a_transaction_or_a_reason(
    values: list[str | None], signed: bool, identity: str | None, number: int
) -> None:
    # The type is given by the sign of the amount, or by a column.
    maps = ("type=",) if signed else ()
    reader = RowMapper(build_mapping(*maps, signed=signed, identity=identity), FIELDS)
    row = Row(number, number + 1, values)
    try:
        request = reader.build_request(row)
    except InvalidRowError as error:
        assert str(error)
        return
    given_ = dict(zip(FIELDS, values, strict=True))
    amount = (given_["amount"] or "").strip()
    assert str(request.user_id) == (given_["user_id"] or "").strip()
    assert isinstance(request, Deposit | Withdrawal)
    if signed:
        assert isinstance(request, Withdrawal) is amount.startswith("-")
        assert amount in {f"-{request.amount}", f"+{request.amount}", request.amount}
    else:
        assert isinstance(request, Withdrawal) is (
            given_["type"] or ""
        ).strip().casefold().startswith("w")
        assert request.amount == amount
    # The row's uuid never changes: not even in the file of rejected rows, where it has another line number.
    again = Row(7, 8, reader.build_rejected_values(row))
    same = RowMapper(build_mapping(*maps, signed=signed, identity=None), reader.rejected_columns)
    assert same.get_or_derive_uuid(again) == request.uuid


@given(st.text(min_size=1, max_size=20), st.integers(1, 10**6), st.integers(1, 10**6))
def test_derived_uuids_differ_by_row_and_by_name(name: str, one: int, other: int) -> None:
    def make_uuid(identity: str, number: int) -> UUID:
        return RowMapper(build_mapping(identity=identity), FIELDS[1:]).get_or_derive_uuid(
            Row(number, number, [None] * 5)
        )

    assert (make_uuid(name, one) == make_uuid(name, other)) is (one == other)
    assert make_uuid(name, one) != make_uuid(f"{name}'", one)


@pytest.mark.parametrize(
    ("columns", "maps", "named"),
    [
        (("uuid", "type", "amount"), (), "user_id"),
        (("uuid", "type", "amount", "user_id"), ("amount=Sum",), "Sum"),
        (("type", "amount", "user_id"), (), "--id"),
        ((*FIELDS, "amount"), (), "two columns have the name amount"),
        (FIELDS, ("sum=amount",), "FIELD=COLUMN"),
        (FIELDS, ("amount",), "FIELD=COLUMN"),
        (FIELDS, ("amount=a", "amount=b"), "already has a column"),
        (FIELDS, ("amount=",), "there is no column amount"),
        (("uuid;type;amount;user_id",), (), "--delimiter"),
    ],
)
def test_contradictory_options_are_rejected(
    columns: tuple[str, ...], maps: tuple[str, ...], named: str
) -> None:
    with pytest.raises(CommandError, match=named):
        RowMapper(build_mapping(*maps), columns)


def test_signed_amounts_and_a_type_column_exclude_each_other() -> None:
    """Check that both together are rejected: a withdrawal whose amount has no sign would become a deposit."""
    with pytest.raises(CommandError, match="a column type"):
        RowMapper(build_mapping(signed=True), FIELDS)
    row = Row(1, 2, [UUID_, "WITHDRAW", "5", "1", "", ""])
    with pytest.raises(InvalidRowError, match="has a type"):
        RowMapper(build_mapping(signed=True), FIELDS, has_header=False).build_request(row)
    passed_over = RowMapper(build_mapping("type=", signed=True), FIELDS)
    assert isinstance(passed_over.build_request(row), Deposit)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("25,000", "comma"),
        ("1.234,56", "comma"),
        ("1,234.56", "comma"),
        ("1\u00a0234.56", "U+00A0 (NO-BREAK SPACE)"),
        ("1'000.00", '"\'", U+0027 (APOSTROPHE)'),
        ("$40.00", '"$", U+0024 (DOLLAR SIGN)'),
        ("NGN 2300.50", '"N", U+004E'),
        ("40.00 €", '" ", U+0020 (SPACE)'),
        ("40.00€", '"€", U+20AC (EURO SIGN)'),
        ("\u221220.00", "U+2212 (MINUS SIGN)"),
        ("(30.00)", '"(", U+0028'),
        ("50.00-", '"-", U+002D'),
        ("- 5.00", '" ", U+0020'),
        ("--3.00", '"-", U+002D'),
        ("٣", "U+0663 (ARABIC-INDIC DIGIT THREE)"),
        ("0.1 (a binary float)", "as decimals or as text"),
    ],
)
@pytest.mark.parametrize("signed", [True, False])
def test_invalid_amount_names_its_column_and_character(text: str, named: str, signed: bool) -> None:
    maps = ("amount=Sum", "type=") if signed else ("amount=Sum",)
    reader = RowMapper(build_mapping(*maps, signed=signed), ("uuid", "type", "Sum", "user_id"))
    with pytest.raises(InvalidRowError, match=re.escape(named)) as caught:
        reader.build_request(Row(1, 2, (UUID_, "" if signed else "DEPOSIT", text, "1")))
    assert str(caught.value).startswith("amount (column Sum) ")


def test_negative_amount_names_the_option_signed() -> None:
    reader = RowMapper(build_mapping(), FIELDS)
    with pytest.raises(InvalidRowError, match=r"is negative: .*--signed"):
        reader.build_request(Row(1, 2, (UUID_, "DEPOSIT", "-5", "1", "", "")))


@pytest.mark.parametrize("field", ["uuid", "user_id", "timestamp"])
def test_invisible_character_is_named_with_its_column(field: str) -> None:
    values = {"uuid": UUID_, "type": "DEPOSIT", "amount": "1", "user_id": "1", "timestamp": ""}
    values[field] += "\ufeff"
    with pytest.raises(InvalidRowError, match=rf"{field} .*U\+FEFF \(ZERO WIDTH NO-BREAK SPACE\)"):
        RowMapper(build_mapping(), tuple(values)).build_request(Row(1, 2, tuple(values.values())))


@pytest.mark.parametrize(
    ("signed", "text", "kind"),
    [
        (True, "+5.00", Deposit),
        (True, "-7.50", Withdrawal),
        (True, "7", Deposit),
        (False, "7.5", Deposit),
    ],
)
def test_signs(signed: bool, text: str, kind: type) -> None:
    maps = ("type=",) if signed else ()
    row = Row(1, 2, (UUID_, "DEPOSIT", text, "1", "", ""))
    request = RowMapper(build_mapping(*maps, signed=signed), FIELDS).build_request(row)
    assert type(request) is kind
    assert request.amount == text.lstrip("+-")


@pytest.mark.parametrize("words", [("credit", "debit"), ("DEPOSIT", "WITHDRAW")])
def test_types_written_as_words(words: tuple[str, str]) -> None:
    mapped = parse_mapping((), signed=False, deposit=words[0], withdraw=words[1], identity=None)
    reader = RowMapper(mapped, FIELDS)
    found: list[type | None] = []
    for text in ("Credit", "CREDIT", " debit ", "Debit", "Cr", "DR", ""):
        try:
            found.append(type(reader.build_request(Row(1, 2, (UUID_, text, "1", "1", "", "")))))
        except InvalidRowError:
            found.append(None)
    known = [Deposit, Deposit, Withdrawal, Withdrawal, None, None, None]
    assert found == (known if words[0] == "credit" else [None] * 7)


@pytest.mark.parametrize(
    ("heading", "named"),
    [
        (("sep=", ""), "delete it, and use --delimiter"),
        (("sep=;",), "delete it, and use --delimiter"),
        (
            ("Account", "DE00 1234"),
            "if this is not the header row, delete the lines above the header row",
        ),
        (("uuid;amount",), "--delimiter"),
    ],
)
def test_missing_header_line_is_rejected_with_advice(heading: tuple[str, ...], named: str) -> None:
    with pytest.raises(CommandError, match=named) as caught:
        RowMapper(build_mapping(), heading)
    assert heading[0] in str(caught.value)
    assert "\n" not in str(caught.value)
