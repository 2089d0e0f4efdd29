"""The delays between retries of a delivery. The functions are pure; random numbers are passed in."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

DOUBLINGS_MAX = 60
"""Maximum number of doublings. No setting needs more, and the power of two still fits in a float."""


def compute_retry_delay(
    attempts: int,
    seconds_min: float,
    seconds_max: float,
    retry_after: timedelta | None,
    chance: float,
) -> timedelta:
    """Return the delay after a number of failed attempts: exponential backoff up to a maximum, with jitter.

    Args:
        attempts: number of failed attempts, at least 1.
        retry_after: minimum delay that the endpoint asked for. It is honored up to `seconds_max`.
        chance: random number from 0 to 1 for the jitter, which spreads simultaneous retries.
    """
    doubled = seconds_min * 2 ** min(attempts - 1, DOUBLINGS_MAX)
    seconds = min(doubled, seconds_max) * (0.5 + chance / 2)
    if retry_after is not None:
        seconds = max(seconds, min(retry_after.total_seconds(), seconds_max))
    return timedelta(seconds=seconds)


def parse_retry_after(text: str | None, now: datetime) -> timedelta | None:
    """Parse the header Retry-After, in seconds or as a date; return None if it is missing or malformed."""
    if text is None:
        return None
    text = text.strip()[:100]
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text), 10**9))
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        return max(moment - now, timedelta(0))
    except (ValueError, OverflowError, TypeError, IndexError):
        # The parser of the standard library accepts offsets and years that no datetime can have.
        return None
