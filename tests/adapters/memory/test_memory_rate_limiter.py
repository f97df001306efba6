from datetime import timedelta

import pytest

from llm_backend.application.ports.rate_limiter import RateLimit, RateLimiter
from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.rate_limiter import MINUTE, RateLimiterContract


class TestMemoryRateLimiter(RateLimiterContract):
    @pytest.fixture
    def limiter(self, clock: ManualClock) -> RateLimiter:
        return MemoryRateLimiter(monotonic=clock.monotonic)


async def test_the_window_slides(clock: ManualClock) -> None:
    limiter = MemoryRateLimiter(monotonic=clock.monotonic)
    limit = RateLimit(count=2, period=MINUTE)
    await limiter.hit("key", limit)
    clock.advance(timedelta(seconds=40))
    await limiter.hit("key", limit)

    first_wait = await limiter.hit("key", limit)
    clock.advance(timedelta(seconds=20))
    await limiter.hit("key", limit)
    second_wait = await limiter.hit("key", limit)

    assert first_wait == timedelta(seconds=20, microseconds=1)
    assert second_wait == timedelta(seconds=40, microseconds=1)


async def test_of_too_many_keys_the_one_hit_longest_ago_is_forgotten() -> None:
    limiter = MemoryRateLimiter(keys=2)
    once = RateLimit(count=1, period=MINUTE)

    for key in "abc":
        await limiter.hit(key, once)

    assert [await limiter.blocked(key, once) is None for key in "abc"] == [True, False, False]
