"""When a failed delivery is tried again: pure, randomness comes in as an argument."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DOUBLINGS_MAX = 60
"""Beyond any bound of a setting; a power of two must stay a float."""


def delay_after(
    attempts: int,
    seconds_min: float,
    seconds_max: float,
    retry_after: timedelta | None,
    chance: float,
) -> timedelta:
    """How long to wait after so many failed attempts: twice as long each time, up to a bound, with jitter.

    Args:
        attempts: at least 1.
        retry_after: what the endpoint asks for: at least that, within the bound.
        chance: from 0 to 1: so that many don't come back all at once.
    """
    doubled = seconds_min * 2 ** min(attempts - 1, DOUBLINGS_MAX)
    seconds = min(doubled, seconds_max) * (0.5 + chance / 2)
    if retry_after is not None:
        seconds = max(seconds, min(retry_after.total_seconds(), seconds_max))
    return timedelta(seconds=seconds)


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """The header Retry-After, seconds or a date; None if there is none that can be read."""
    if text is None:
        return None
    text = text.strip()[:100]
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), 10**9))
    try:
        moment = parsedate_to_datetime(text)
    except ValueError:
        return None
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return max(moment - now, timedelta(0))
