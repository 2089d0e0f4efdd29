"""The numbers of `ratchets.toml`: they equal the current counts, and a difference is reported with its places."""

from __future__ import annotations

import pytest

from tests.style.ratchets import RATCHETS, compare, find, read_numbers
from tests.style.source import Place

PLACE = Place("saldo.http", "src/saldo/parsing/transactions.py", 7, "Of one request.")


@pytest.mark.parametrize("name", RATCHETS)
def test_the_recorded_numbers_are_those_that_are_counted(name: str) -> None:
    messages = compare(name, find(name), read_numbers().get(name, {}))

    if messages:
        pytest.fail("\n".join(messages), pytrace=False)


def test_a_ratchet_without_a_rule_is_not_recorded() -> None:
    assert {*read_numbers()} == {*RATCHETS, "allowed"}


def test_a_rise_names_the_rule_and_the_places() -> None:
    (message,) = compare("docstring_fragments", {"saldo.http": [PLACE, PLACE]}, {"saldo.http": 1})

    assert "docstring_fragments of saldo.http rose from 1 to 2" in message
    assert RATCHETS["docstring_fragments"].rule in message
    assert "src/saldo/parsing/transactions.py:7: Of one request." in message


def test_a_package_that_has_no_number_may_have_no_fault() -> None:
    (message,) = compare("docstring_fragments", {"saldo.http": [PLACE]}, {})

    assert "rose from 0 to 1" in message


def test_a_fall_asks_for_the_lower_number() -> None:
    (message,) = compare("docstring_fragments", {"saldo.http": [PLACE]}, {"saldo.http": 3})

    assert "lower the number to 1" in message


def test_a_package_without_faults_asks_for_zero() -> None:
    (message,) = compare("docstring_fragments", {}, {"saldo.http": 3})

    assert "lower the number to 0" in message


def test_equal_numbers_are_accepted() -> None:
    assert compare("docstring_fragments", {"saldo.http": [PLACE]}, {"saldo.http": 1}) == []
