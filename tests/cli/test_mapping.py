"""From rows to transactions, by whatever rows there may be: a transaction or a reason, and uuids that stay."""

from __future__ import annotations

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from saldo.cli.exits import CommandError
from saldo.cli.mapping import FIELDS, BadRowError, Reader, meaning_of
from saldo.cli.tables import Row
from saldo.client.requests import Deposit, Withdrawal

UUID_ = "ea3015b1-c25c-47e5-beb7-2679ac7c89a7"

texts = st.one_of(
    st.none(),
    st.text(max_size=12),
    st.sampled_from(["", " ", UUID_, "deposit", "WITHDRAW", "-5", "+5", "-", "posted", "0.10"]),
)


def meaning(*maps: str, signed: bool = False, identity: str | None = None):  # type: ignore[no-untyped-def]
    return meaning_of(
        maps, signed=signed, deposit="DEPOSIT", withdraw="WITHDRAW", identity=identity
    )


@given(
    st.lists(texts, min_size=len(FIELDS), max_size=len(FIELDS)),
    st.booleans(),
    st.none() | st.text(min_size=1, max_size=8),
    st.integers(1, 10**9),
)
def test_any_row_is_a_transaction_or_bad_for_a_reason(
    values: list[str | None], signed: bool, identity: str | None, number: int
) -> None:
    # The sign says the type, or the column.
    maps = ("type=",) if signed else ()
    reader = Reader(meaning(*maps, signed=signed, identity=identity), FIELDS)
    row = Row(number, number + 1, values)
    try:
        request = reader.request(row)
    except BadRowError as error:
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
    # The uuid is the row's own for ever: also in the file of rejected rows, wherever its line is there.
    again = Row(7, 8, reader.told(row))
    same = Reader(meaning(*maps, signed=signed, identity=None), reader.told_columns)
    assert same.uuid(again) == request.uuid


@given(st.text(min_size=1, max_size=20), st.integers(1, 10**6), st.integers(1, 10**6))
def test_made_uuids_differ_by_row_and_by_name(name: str, one: int, other: int) -> None:
    def made(identity: str, number: int) -> UUID:
        return Reader(meaning(identity=identity), FIELDS[1:]).uuid(Row(number, number, [None] * 5))

    assert (made(name, one) == made(name, other)) is (one == other)
    assert made(name, one) != made(f"{name}'", one)


@pytest.mark.parametrize(
    ("columns", "maps", "named"),
    [
        (("uuid", "type", "amount"), (), "user_id"),
        (("uuid", "type", "amount", "user_id"), ("amount=Sum",), "Sum"),
        (("type", "amount", "user_id"), (), "--id"),
        ((*FIELDS, "amount"), (), "two columns amount"),
        (FIELDS, ("sum=amount",), "FIELD=COLUMN"),
        (FIELDS, ("amount",), "FIELD=COLUMN"),
        (FIELDS, ("amount=a", "amount=b"), "has a column already"),
        (FIELDS, ("amount=",), "there is no column amount"),
        (("uuid;type;amount;user_id",), (), "--delimiter"),
    ],
)
def test_options_that_make_no_sense(
    columns: tuple[str, ...], maps: tuple[str, ...], named: str
) -> None:
    with pytest.raises(CommandError, match=named):
        Reader(meaning(*maps), columns)


def test_a_sign_and_a_type_are_not_both_taken() -> None:
    """A withdrawal whose amount has no sign would be a deposit."""
    with pytest.raises(CommandError, match="a column type"):
        Reader(meaning(signed=True), FIELDS)
    row = Row(1, 2, [UUID_, "WITHDRAW", "5", "1", "", ""])
    with pytest.raises(BadRowError, match="has a type"):
        Reader(meaning(signed=True), FIELDS, headed=False).request(row)
    passed_over = Reader(meaning("type=", signed=True), FIELDS)
    assert isinstance(passed_over.request(row), Deposit)
