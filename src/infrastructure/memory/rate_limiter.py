"""Counting attempts in memory."""

import time
from collections import deque
from collections.abc import Callable
from datetime import timedelta

from llm_backend.application.ports.rate_limiter import RateLimit


class MemoryRateLimiter:
    """Remembers the time of each attempt. Of more than `keys` keys, those hit longest ago are forgotten.

    Use one limit with each key: a shorter period forgets attempts that a longer one would count.
    """

    def __init__(self, keys: int = 100_000, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._keys = keys
        self._monotonic = monotonic
        self._hits: dict[str, deque[float]] = {}  # in the order of the last hit

    async def blocked(self, key: str, limit: RateLimit) -> timedelta | None:
        return self._wait(self._hits.get(key, deque()), limit)

    async def hit(self, key: str, limit: RateLimit) -> timedelta | None:
        hits = self._hits.get(key, deque())
        wait = self._wait(hits, limit)
        if wait is None:
            hits.append(self._monotonic())
            self._keep(key, hits)
        return wait

    async def reset(self, key: str) -> None:
        self._hits.pop(key, None)

    def _wait(self, hits: deque[float], limit: RateLimit) -> timedelta | None:
        if limit.count < 1:
            return limit.period
        now, period = self._monotonic(), limit.period.total_seconds()
        while hits and hits[0] + period <= now:
            hits.popleft()
        if len(hits) < limit.count:
            return None
        return timedelta(seconds=hits[-limit.count] + period - now) + timedelta.resolution  # never rounded down

    def _keep(self, key: str, hits: deque[float]) -> None:
        self._hits.pop(key, None)
        self._hits[key] = hits
        if len(self._hits) > self._keys:
            del self._hits[next(iter(self._hits))]
