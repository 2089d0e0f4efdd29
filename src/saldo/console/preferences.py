"""Display preferences of a person: language, theme and time zone.

The preferences are stored in a cookie and have no effect on access control.
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

PREFERENCES_COOKIE: Final = "saldo_look"


@dataclass(frozen=True, slots=True)
class Preferences:
    """The preferences of one browser.

    Attributes:
        zone: The IANA name of the time zone. If it is empty, the service's time zone is used.
    """

    language: Language = "en"
    theme: Theme = "auto"
    zone: str = ""

    @classmethod
    def parse(cls, cookie: str | None, accept_language: str) -> Self:
        """Parse the cookie. Missing and invalid values get their defaults."""
        defaults = cls("ru" if _prefers_russian(accept_language) else "en")
        parts = (cookie or "").split(".")
        return defaults.with_changes(
            **dict(zip(("language", "theme", "zone"), parts, strict=False))
        )

    def with_changes(self, language: str = "", theme: str = "", zone: str | None = None) -> Self:
        """Return a copy with the given values. Invalid values are ignored."""
        changed = self
        if language in LANGUAGES:
            changed = replace(changed, language=language)
        if theme in THEMES:
            changed = replace(changed, theme=theme)
        if zone is not None and (zone == "" or zone in list_zones()):
            changed = replace(changed, zone=zone)
        return changed

    def serialize(self) -> str:
        """Return the value of the cookie. Dots separate its parts, because no zone name contains a dot."""
        return f"{self.language}.{self.theme}.{self.zone}"

    def resolve_zone(self, default: tzinfo | None) -> tzinfo:
        """Return the time zone.

        Args:
            default: The time zone of the service. If it is None, the time zone of the machine is used.
        """
        if self.zone:
            return ZoneInfo(self.zone)
        return default or datetime.now(UTC).astimezone().tzinfo or UTC


@cache
def list_zones() -> frozenset[str]:
    """Return the names of all time zones that a person can choose."""
    return frozenset(available_timezones() - {"localtime", "Factory", "posixrules"})


def _prefers_russian(accept_language: str) -> bool:
    """Return whether Russian comes before English in the header `Accept-Language`.

    Only the order of the languages counts; their weights (`q=`) are ignored.
    """
    for part in accept_language.lower().split(","):
        name = part.strip().partition(";")[0].partition("-")[0]
        if name in {"ru", "en"}:
            return name == "ru"
    return False
