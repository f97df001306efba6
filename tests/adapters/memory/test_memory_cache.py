from datetime import timedelta

import pytest

from llm_backend.application.ports.cache import Cache
from llm_backend.infrastructure.memory.cache import ENTRY_BYTES, MemoryCache
from llm_backend.testing.clock import ManualClock
from llm_backend.testing.contracts.cache import LONG, CacheContract


class TestMemoryCache(CacheContract):
    @pytest.fixture
    def cache(self, clock: ManualClock) -> Cache:
        return MemoryCache(monotonic=clock.monotonic)


async def test_what_was_used_longest_ago_goes_first() -> None:
    cache = MemoryCache(limit=2 * (ENTRY_BYTES + 1))
    for key in "ab":
        await cache.set(key, b"1", ttl=LONG)

    await cache.get("a")
    await cache.set("c", b"1", ttl=LONG)

    assert [await cache.get(key) for key in "abc"] == [b"1", None, b"1"]


async def test_a_value_too_large_for_all_of_it_pushes_nothing_out() -> None:
    cache = MemoryCache(limit=1000)
    await cache.set("small", b"1", ttl=LONG)

    await cache.set("large", b"1" * 1000, ttl=LONG)

    assert await cache.get("large") is None
    assert await cache.get("small") == b"1"


async def test_memory_stays_bounded(clock: ManualClock) -> None:
    cache = MemoryCache(limit=10_000, monotonic=clock.monotonic)

    for number in range(1000):
        await cache.set(str(number % 300), b"x" * (number % 97), ttl=timedelta(seconds=number % 7))
        clock.advance(timedelta(seconds=0.1))

    assert cache._bytes <= 10_000
    assert cache._bytes == sum(len(value) + ENTRY_BYTES for value, _ in cache._entries.values())
