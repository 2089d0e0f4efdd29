"""Names: one spelling for each, and no invisible characters."""

from __future__ import annotations

import sys
import unicodedata
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from saldo.ledger.names import COMPOSITION_FACTOR_MAX, InvalidNameError, normalize_name
from saldo.parsing import fields, transactions
from saldo.parsing.faults import FieldError, InvalidRequestError

VISIBLE = [
    "customer-4711",
    "Łódź 🙂",
    "山田　太郎",
    "O’Brien-Smith, Jr.",
    "می\u200cخواهم",  # Persian: a joiner between two letters
    "क्\u200dष",  # Hindi: a joiner after a virama
    "👩\u200d👩\u200d👧",
    "🧑🏽\u200d🚀",
    "❤\ufe0f\u200d🔥",
    "❤\ufe0f",
    "1\ufe0f\u20e3",
    "日本",
    "ﬁn",
    "\u05d3\u05d5\u05d3",  # Hebrew needs no marks of direction
    "7",
    "$",
]

REFUSED = {
    "Alice\u200b": "U+200B ZERO WIDTH SPACE",
    "A\u200dlice": "U+200D ZERO WIDTH JOINER",
    "A\u200clice": "U+200C ZERO WIDTH NON-JOINER",
    "Alice\u202e000,1": "U+202E RIGHT-TO-LEFT OVERRIDE",
    "\u2066Alice": "U+2066 LEFT-TO-RIGHT ISOLATE",
    "\u200eAlice": "U+200E LEFT-TO-RIGHT MARK",
    "\ufeffAlice": "U+FEFF ZERO WIDTH NO-BREAK SPACE",
    "Ali\u00adce": "U+00AD SOFT HYPHEN",
    "Alice\u2028Bob": "U+2028 LINE SEPARATOR",
    "Alice\u2029Bob": "U+2029 PARAGRAPH SEPARATOR",
    "Alice\u0085Bob": "U+0085",
    "Alice\nBob": "U+000A",
    "Alice\n": "U+000A",
    "Alice\0": "U+0000",
    "Alice\x7f": "U+007F",
    "Alice\u00a0Bob": "U+00A0 NO-BREAK SPACE",
    "Alice\u2007Bob": "U+2007 FIGURE SPACE",
    "Alice\u3164": "U+3164 HANGUL FILLER",
    "Alice\u2800": "U+2800 BRAILLE PATTERN BLANK",
    "Alice\ufe0f": "U+FE0F VARIATION SELECTOR-16",
    "\ufe0fAlice": "U+FE0F VARIATION SELECTOR-16",
    "葛\U000e0100": "U+E0100 VARIATION SELECTOR-17",
    "Alice\U000e0041": "U+E0041 TAG LATIN CAPITAL LETTER A",
    "Alice\ue000": "U+E000",
    "Alice\u0378": "U+0378",
    "Alice\ud800": "U+D800",
    "\u0301": "visible",
    "": "visible",
    "  ": "visible",
    "\u0301Alice": "U+0301 COMBINING ACUTE ACCENT",
}

SPELLINGS = [
    ("Zo\u00eb", "Zoe\u0308"),
    ("\u00c5", "\u212b"),
    ("\u00c5", "A\u030a"),
    ("\u1e69", "s\u0307\u0323"),
    ("\uac00", "\u1100\u1161"),
    ("shop-1", "  shop-1 "),
]

DISTINCT = [("ﬁn", "fin"), ("Shop-1", "shop-1"), ("A", "\u0410")]


@pytest.mark.parametrize("name", VISIBLE)
def test_visible_names_are_kept(name: str) -> None:
    assert normalize_name(name) == unicodedata.normalize("NFC", name)


@pytest.mark.parametrize(("name", "told"), REFUSED.items(), ids=ascii)
def test_names_with_unseen_characters_are_refused(name: str, told: str) -> None:
    with pytest.raises(InvalidNameError, match=r"^must ") as refused:
        normalize_name(name)
    assert told in str(refused.value)
    assert str(refused.value).isprintable()


@pytest.mark.parametrize(("one", "other"), SPELLINGS, ids=ascii)
def test_canonically_equal_names_are_the_same_name(one: str, other: str) -> None:
    assert normalize_name(one) == normalize_name(other)


@pytest.mark.parametrize(("one", "other"), DISTINCT, ids=ascii)
def test_similar_looking_names_stay_different(one: str, other: str) -> None:
    assert normalize_name(one) != normalize_name(other)


@given(st.text(st.characters(exclude_categories=("C", "Z")), max_size=12).map("a{}".format))
def test_every_spelling_of_a_name_gives_the_same_one(text: str) -> None:
    try:
        name = normalize_name(text)
    except InvalidNameError:
        assume(False)
        raise
    assert normalize_name(name) == name
    for form in ("NFC", "NFD"):
        spelled = unicodedata.normalize(form, text)
        assert normalize_name(spelled) == name
    unseen = {"Cc", "Cn", "Co", "Cs", "Zl", "Zp"}
    assert not unseen & {unicodedata.category(character) for character in name}
    assert any(unicodedata.category(character)[0] in "LNPS" for character in name)


def test_composition_factor_is_the_maximum() -> None:
    lengths = {
        len(unicodedata.normalize("NFD", composed))
        for composed in map(chr, range(sys.maxunicode + 1))
        if unicodedata.normalize("NFC", composed) == composed
    }
    assert max(lengths) == COMPOSITION_FACTOR_MAX


@pytest.mark.parametrize("read", [transactions.parse_user_name, fields.parse_label])
def test_name_that_is_far_too_long_is_rejected_before_normalization(
    monkeypatch: pytest.MonkeyPatch, read: Any
) -> None:
    """Count the composed characters: composing sorts marks in quadratic time, and 64 KiB of them took two seconds."""
    composed: list[int] = []

    def normalize(text: str) -> str:
        composed.append(len(text))
        return normalize_name(text)

    monkeypatch.setattr(fields, "normalize_name", normalize)
    bound = (
        transactions.ParserOptions(None, 2, 100, 10) if read is transactions.parse_user_name else 10
    )
    for length in (10, 39, 40, 41, 20_000):
        with pytest.raises((InvalidRequestError, FieldError)):
            read("a" + "\u0345\u0301" * length, bound)
    assert max(composed) <= 10 * COMPOSITION_FACTOR_MAX
    # The longest decomposed form of a name that fits is accepted.
    read("\u1f82" * 10, bound)
    read(unicodedata.normalize("NFD", "\u1f82" * 10), bound)
