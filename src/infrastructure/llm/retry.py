"""When a request is worth repeating, and after how long."""

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """At most `attempts` in all. Waits double from `first_wait`, each shortened at random so that clients spread.

    A server's Retry-After is obeyed up to `longest_wait`; when it asks for more, the failure is passed on at once.
    """

    attempts: int = 3
    first_wait: timedelta = timedelta(seconds=0.5)
    longest_wait: timedelta = timedelta(seconds=20)
    jitter: Callable[[], float] = random.random

    def wait(self, failures: int, retry_after: timedelta | None) -> timedelta | None:
        """How long to wait after that many failures; None to give up."""
        if failures >= self.attempts or (retry_after is not None and retry_after > self.longest_wait):
            return None
        planned = min(self.first_wait * float(2 ** (failures - 1)), self.longest_wait)
        spread = planned * (0.5 + 0.5 * self.jitter())
        return max(spread, retry_after or timedelta())


def parse_retry_after(value: str | None, *, now: datetime | None = None) -> timedelta | None:
    """The header's meaning, seconds or a date; None when there is none. Never negative."""
    if not value:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        return timedelta(seconds=min(int(text[:9]), 10**8))
    try:
        when = parsedate_to_datetime(text)
    except (ValueError, OverflowError):
        return None
    when = when if when.tzinfo else when.replace(tzinfo=UTC)
    return max(when - (now or datetime.now(UTC)), timedelta())
