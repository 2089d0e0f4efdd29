"""Names of users: one spelling for each, without invisible characters.

Two names that look the same are one name. Therefore names are stored in Unicode's composed form (NFC), and characters
are rejected that are invisible, change the direction of the surrounding text, break lines or are unassigned. Letters
that only resemble each other (Latin A and Cyrillic А, ﬁ and fi, upper and lower case) stay different.
"""

from __future__ import annotations

import unicodedata
from typing import Final

ZERO_WIDTH_NON_JOINER: Final = "\u200c"
ZERO_WIDTH_JOINER: Final = "\u200d"
_JOINERS: Final = ZERO_WIDTH_NON_JOINER + ZERO_WIDTH_JOINER

_VIRAMA: Final = 9
"""Combining class of the signs after which a joiner shapes the letters of Indic scripts (RFC 5892, A.1, A.2)."""

_REFUSED: Final = {
    "Cc": "a control character",
    "Cf": "an invisible character",
    "Cn": "not assigned to a character",
    "Co": "for private use",
    "Cs": "half of a surrogate pair",
    "Zl": "a line separator",
    "Zp": "a paragraph separator",
}
"""Reasons for which characters are rejected, by general category."""

_BLANK: Final = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u2800\u3164\uffa0")
"""Characters that are drawn as nothing, although their categories are those of letters, marks and symbols."""

_SPACES: Final = " \u3000"
"""Spaces that are allowed in a name. Others, such as the no-break space, look the same and are rejected."""

_TEXT_STYLE: Final = "\ufe0e"
_EMOJI_STYLE: Final = "\ufe0f"
_KEYCAP: Final = "\u20e3"


COMPOSITION_FACTOR_MAX: Final = 4
"""Maximum number of characters that composition (NFC) combines into one. A text that is longer than this multiple of a
name's maximum length is too long even after composition."""


class InvalidNameError(ValueError):
    """Raised when a text can't be a name. The message continues the name of its field ("must ...")."""


def normalize_name(text: str) -> str:
    """Return the normal form of a name: without spaces around it, and composed (NFC).

    Normalizing a normal form does not change it.

    Raises:
        InvalidNameError: The text has an invisible character, or no visible one.
    """
    name = unicodedata.normalize("NFC", text.strip(_SPACES))
    for position, character in enumerate(name):
        reason = _explain_forbidden_character(name, position)
        if reason is not None:
            raise InvalidNameError(
                f"must not contain {describe_character(character)}: it is {reason}"
            )
    if not any(unicodedata.category(character)[0] in "LNPS" for character in name):
        raise InvalidNameError("must have a visible character")
    if unicodedata.category(name[0])[0] == "M":
        raise InvalidNameError(
            f"must not begin with {describe_character(name[0])}: it combines with the preceding character"
        )
    return name


def describe_character(character: str) -> str:
    """Return a character's code point and its name in Unicode, such as `U+200B ZERO WIDTH SPACE`."""
    name = unicodedata.name(character, "")
    return f"U+{ord(character):04X} {name}".rstrip()


def _explain_forbidden_character(name: str, position: int) -> str | None:
    """Return the reason why the character at a position is not allowed there; None if it is allowed."""
    character = name[position]
    if character in _JOINERS:
        return None if _is_joiner_allowed(name, position) else "an invisible character"
    if character in (_TEXT_STYLE, _EMOJI_STYLE):
        return None if _is_style_selector(name, position) else "an invisible character"
    if character in _BLANK or _is_variation_selector(character):
        return "an invisible character"
    category = unicodedata.category(character)
    if category == "Zs" and character not in _SPACES:
        return "a space that looks like others"
    return _REFUSED.get(category)


def _is_joiner_allowed(name: str, position: int) -> bool:
    """Return whether the zero-width joiner or non-joiner at `position` affects how its neighbours are drawn, as in
    Persian and Hindi words and some emoji."""
    before, after = name[:position].rstrip(_EMOJI_STYLE)[-1:], name[position + 1 : position + 2]
    if not before or not after or after in _JOINERS:
        return False
    if unicodedata.combining(before) == _VIRAMA:
        return True
    if name[position] == ZERO_WIDTH_JOINER:
        return _is_pictograph(before) and _is_pictograph(after)
    return unicodedata.bidirectional(before) == unicodedata.bidirectional(after) == "AL"


def _is_style_selector(name: str, position: int) -> bool:
    """Return whether a variation selector chooses the style of the emoji before it."""
    before, after = (
        name[position - 1 : position] if position else "",
        name[position + 1 : position + 2],
    )
    if before.isascii():
        return before in set("0123456789#*") and after == _KEYCAP
    return unicodedata.category(before) in ("So", "Sm", "Po")


def _is_pictograph(character: str) -> bool:
    # The category Sk contains the five skin tones of emoji.
    return not character.isascii() and unicodedata.category(character) in ("So", "Sk", "Sm")


def _is_variation_selector(character: str) -> bool:
    return (
        "\u180b" <= character <= "\u180f"
        or "\ufe00" <= character <= "\ufe0f"
        or "\U000e0100" <= character <= "\U000e01ef"
    )
