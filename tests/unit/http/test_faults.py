"""The collector of faults that all parsers of requests use."""

from __future__ import annotations

import pytest

from saldo.ledger.instants import parse_instant
from saldo.ledger.money import parse_amount
from saldo.parsing.faults import FaultCollector, FieldError, InvalidRequestError, summarize_faults


def _fail(message: str) -> int:
    raise FieldError(message)


def test_all_faults_are_collected_in_order() -> None:
    faults = FaultCollector()
    assert not faults
    faults.raise_if_any()
    faults.check_fields({"a": 1, "x" * 200: 1, "b": 1}, ("a", "b"))
    assert faults.parse("a", _fail, "is wrong") is None
    assert faults.parse("b", parse_amount, "0", 2, 100) is None
    assert faults.parse("c", parse_instant, "never", None) is None
    assert faults.parse("d", int, "7") == 7
    faults.add("e", "is missing")
    with pytest.raises(InvalidRequestError) as error:
        faults.raise_if_any()
    names = [fault.field for fault in error.value.faults]
    assert names == ["x" * 100, "a", "b", "c", "e"]
    assert error.value.faults[0].message == "is not a field of this request; its fields are a, b"
    assert summarize_faults(error.value.faults[1:]).startswith(
        "a is wrong; b must be greater than zero; c "
    )
    assert summarize_faults(error.value.faults).endswith("; and 2 more")


def test_other_errors_are_not_faults() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        FaultCollector().parse("a", int, "seven")
