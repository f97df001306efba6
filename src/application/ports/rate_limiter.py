"""Counting attempts."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class RateLimit:
    """At most `count` in any `period`."""

    count: int
    period: timedelta


class RateLimiter(Protocol):
    """Sliding counts by key, shared by all replicas where they have a place to share them. Never raises: without
    that place each replica counts for itself."""

    async def blocked(self, key: str, limit: RateLimit) -> timedelta | None:
        """How long until one more is allowed; None when it is now."""

    async def hit(self, key: str, limit: RateLimit) -> timedelta | None:
        """Count one, unless the limit is reached: then how long until one more is allowed. Atomic: of many at once
        exactly `count` pass."""

    async def reset(self, key: str) -> None: ...
