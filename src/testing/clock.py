"""Time and chance under a test's control."""

from datetime import UTC, datetime, timedelta
from uuid import UUID

NOON = datetime(2030, 1, 1, 12, tzinfo=UTC)


class ManualClock:
    """A clock that stands still until it is told to move; its `monotonic` moves along, but never back."""

    def __init__(self, now: datetime = NOON) -> None:
        self._now = now
        self._elapsed = timedelta(0)

    def __call__(self) -> datetime:
        return self._now

    def monotonic(self) -> float:
        return self._elapsed.total_seconds()

    def advance(self, duration: timedelta) -> None:
        """Time goes by."""
        self._now += duration
        self._elapsed += duration

    def set(self, now: datetime) -> None:
        """Somebody sets the clock; no time goes by."""
        self._now = now


class CountingIds:
    """1, 2, 3 …, and UUIDs made of them."""

    def __init__(self) -> None:
        self._last = 0

    def number(self) -> int:
        self._last += 1
        return self._last

    def uuid(self) -> str:
        return str(UUID(int=self.number(), version=4))

    def token(self) -> str:
        return f"{self.number():0>43}"
