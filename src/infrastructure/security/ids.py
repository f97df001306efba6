"""Time and chance, taken from the operating system."""

import os
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from secrets import token_urlsafe
from uuid import UUID

from llm_backend.application.ports.clock import Clock
from llm_backend.domain.ids import LARGEST_ID

Monotonic = Callable[[], float]

DRAWN_AT_ONCE = 4096
"""Bytes. A virtual machine may take 90 µs to give any number of them, a tenth of all that a short answer costs."""


SPARE_BITS = 64 - LARGEST_ID.bit_length()


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
    """Ids from the operating system's source of randomness, which nobody can guess. For one process: a fork would
    repeat them. Not for keys, as what is drawn stays in memory for a while."""

    def __init__(self) -> None:
        self._drawn = b""

    def number(self) -> int:
        while True:
            number = int.from_bytes(self._bytes(8)) >> SPARE_BITS
            if number:  # and so all of them are equally likely
                return number

    def uuid(self) -> str:
        return str(UUID(bytes=self._bytes(16), version=4))

    def token(self) -> str:
        return token_urlsafe(32)

    def _bytes(self, count: int) -> bytes:
        if len(self._drawn) < count:
            self._drawn = os.urandom(DRAWN_AT_ONCE)
        taken, self._drawn = self._drawn[:count], self._drawn[count:]
        return taken
