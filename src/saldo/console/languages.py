"""The languages of the console."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from saldo.console.english import ENGLISH
from saldo.console.look import Language
from saldo.console.russian import RUSSIAN
from saldo.console.words import Words

WORDS: Final[Mapping[Language, Words]] = {"en": ENGLISH, "ru": RUSSIAN}
