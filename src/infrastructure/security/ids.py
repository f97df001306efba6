"""Time and chance, taken from the operating system."""

import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import randbelow, token_urlsafe
from uuid import uuid4

from llm_backend.application.ports.clock import Clock
from llm_backend.domain.ids import LARGEST_ID

Monotonic = Callable[[], float]


class SystemClock:
    """The computer's clock, in UTC."""

    def __call__(self) -> datetime:
        return datetime.now(UTC)


class SteadyClock:
    """Another clock that never falls behind the time that has really passed since this object was made.

    A wall clock that is set back does not bring ended things back to life; one that is set forward, and back again,
    does no lasting harm.
    """

    def __init__(self, now: Clock, monotonic: Monotonic = time.monotonic) -> None:
        self._now = now
        self._monotonic = monotonic
        self._started_at = now()
        self._start = monotonic()

    def __call__(self) -> datetime:
        elapsed = timedelta(seconds=self._monotonic() - self._start)
        return max(self._now(), self._started_at + elapsed)


class RandomIds:
    """Ids from the operating system's source of randomness."""

    def number(self) -> int:
        return randbelow(LARGEST_ID) + 1

    def uuid(self) -> str:
        return str(uuid4())

    def token(self) -> str:
        return token_urlsafe(32)
