"""What every rate limiter must keep."""

import asyncio
from datetime import timedelta

import pytest

from llm_backend.application.ports.rate_limiter import RateLimit, RateLimiter
from llm_backend.testing.contracts.cache import ODD_KEYS, Pass

MINUTE = timedelta(minutes=1)
THREE = RateLimit(count=3, period=MINUTE)
BRIEF = RateLimit(count=2, period=timedelta(seconds=2))


class RateLimiterContract:
    """So many pass and no more. Needs the fixtures `limiter`, and `pass_time`: an async function that lets so much time
    go by."""

    async def test_so_many_pass_and_no_more(self, limiter: RateLimiter) -> None:
        waits = [await limiter.hit("key", THREE) for _ in range(5)]

        assert [wait is None for wait in waits] == [True, True, True, False, False]

    async def test_who_is_blocked_hears_for_how_long(self, limiter: RateLimiter) -> None:
        for _ in range(3):
            await limiter.hit("key", THREE)

        waits = [await limiter.hit("key", THREE), await limiter.blocked("key", THREE)]

        assert all(wait is not None and MINUTE / 2 < wait <= MINUTE + timedelta(seconds=1) for wait in waits)

    async def test_looking_does_not_count(self, limiter: RateLimiter) -> None:
        for _ in range(10):
            assert await limiter.blocked("key", THREE) is None

        assert await limiter.hit("key", THREE) is None

    async def test_a_refused_attempt_does_not_count(self, limiter: RateLimiter, pass_time: Pass) -> None:
        for _ in range(2):
            await limiter.hit("key", BRIEF)
        await pass_time(BRIEF.period / 2)
        await limiter.hit("key", BRIEF)

        await pass_time(BRIEF.period)

        assert await limiter.hit("key", BRIEF) is None

    async def test_after_the_wait_one_more_passes(self, limiter: RateLimiter, pass_time: Pass) -> None:
        for _ in range(2):
            await limiter.hit("key", BRIEF)
        wait = await limiter.blocked("key", BRIEF)
        assert wait is not None

        await pass_time(wait)

        assert await limiter.blocked("key", BRIEF) is None
        assert await limiter.hit("key", BRIEF) is None

    async def test_keys_are_counted_apart(self, limiter: RateLimiter) -> None:
        once = RateLimit(count=1, period=MINUTE)

        waits = [await limiter.hit(key, once) for key in ODD_KEYS]

        assert waits == [None] * len(ODD_KEYS)
        assert all([await limiter.blocked(key, once) for key in ODD_KEYS])

    async def test_a_reset_forgets_one_key_alone(self, limiter: RateLimiter) -> None:
        for key in ("mine", "theirs"):
            for _ in range(3):
                await limiter.hit(key, THREE)

        await limiter.reset("mine")
        await limiter.reset("nobody's")

        assert await limiter.blocked("mine", THREE) is None
        assert await limiter.blocked("theirs", THREE) is not None

    @pytest.mark.parametrize("limit", [1, 20])
    async def test_of_many_at_once_exactly_so_many_pass(self, limiter: RateLimiter, limit: int) -> None:
        at_most = RateLimit(count=limit, period=MINUTE)

        waits = await asyncio.gather(*(limiter.hit("key", at_most) for _ in range(100)))

        assert waits.count(None) == limit

    async def test_a_limit_of_none_lets_nobody_pass(self, limiter: RateLimiter) -> None:
        nothing = RateLimit(count=0, period=MINUTE)

        assert await limiter.blocked("key", nothing) is not None
        assert await limiter.hit("key", nothing) is not None
