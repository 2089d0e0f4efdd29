"""The message catalogs of the console by language."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from saldo.console.i18n.catalog import Messages
from saldo.console.i18n.english import ENGLISH
from saldo.console.i18n.russian import RUSSIAN
from saldo.console.preferences import Language

CATALOGS: Final[Mapping[Language, Messages]] = {"en": ENGLISH, "ru": RUSSIAN}
