"""How one person sees the console: language, theme, time zone.

Kept in a cookie of the browser; nothing in it opens a door.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, tzinfo
from functools import cache
from typing import Final, Literal, Self
from zoneinfo import ZoneInfo, available_timezones

Language = Literal["en", "ru"]
Theme = Literal["auto", "light", "dark"]

LANGUAGES: Final[tuple[Language, ...]] = ("en", "ru")
THEMES: Final[tuple[Theme, ...]] = ("auto", "light", "dark")

LOOK_COOKIE: Final = "saldo_look"


@dataclass(frozen=True, slots=True)
class Look:
    """What was chosen. zone: an IANA name; empty: the service's own."""

    language: Language = "en"
    theme: Theme = "auto"
    zone: str = ""

    @classmethod
    def read(cls, cookie: str | None, accept_language: str) -> Self:
        """As the cookie says; what it doesn't say, or says wrong, is as nobody had chosen."""
        look = cls("ru" if _prefers_russian(accept_language) else "en")
        parts = (cookie or "").split(".")
        return look.changed(**dict(zip(("language", "theme", "zone"), parts, strict=False)))

    def changed(self, language: str = "", theme: str = "", zone: str | None = None) -> Self:
        """With another choice, as far as it is one."""
        new = self
        if language in LANGUAGES:
            new = replace(new, language=language)
        if theme in THEMES:
            new = replace(new, theme=theme)
        if zone is not None and (zone == "" or zone in zones()):
            new = replace(new, zone=zone)
        return new

    @property
    def written(self) -> str:
        """As the cookie keeps it. Names of zones have no dot."""
        return f"{self.language}.{self.theme}.{self.zone}"

    def tzinfo(self, own: tzinfo | None) -> tzinfo:
        """The zone. own: the service's; None: the machine's."""
        if self.zone:
            return ZoneInfo(self.zone)
        return own or datetime.now(UTC).astimezone().tzinfo or UTC


@cache
def zones() -> frozenset[str]:
    """All that can be chosen."""
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def _prefers_russian(accept_language: str) -> bool:
    """Whether Russian comes before English among what the browser asks for, in the order in which it does."""
    for part in accept_language.lower().split(","):
        name = part.strip().partition(";")[0].partition("-")[0]
        if name in {"ru", "en"}:
            return name == "ru"
    return False
