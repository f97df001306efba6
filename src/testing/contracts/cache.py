"""What every cache must keep."""

import asyncio
from collections.abc import Awaitable, Callable
from datetime import timedelta

import pytest

from llm_backend.application.ports.cache import Cache

Pass = Callable[[timedelta], Awaitable[None]]

LONG = timedelta(minutes=5)
SHORT = timedelta(milliseconds=50)
ODD_KEYS = ["", " ", "a b", "a:b", "{a}", "*", "a\nb", "\x00", "键", "'; DROP TABLE", "../../x", "k" * 5000]


class CacheContract:
    """What was set comes back until its time is over. Needs the fixtures `cache`, and `pass_time`: an async function
    that lets so much time go by."""

    async def test_what_was_set_can_be_got(self, cache: Cache) -> None:
        await cache.set("key", b"value", ttl=LONG)

        assert await cache.get("key") == b"value"

    async def test_what_was_never_set_is_not_there(self, cache: Cache) -> None:
        assert await cache.get("key") is None

    async def test_the_last_value_counts(self, cache: Cache) -> None:
        await cache.set("key", b"old", ttl=LONG)
        await cache.set("key", b"new", ttl=LONG)

        assert await cache.get("key") == b"new"

    async def test_what_was_deleted_is_gone_and_deleting_it_again_is_no_error(self, cache: Cache) -> None:
        await cache.set("key", b"value", ttl=LONG)

        await cache.delete("key")
        await cache.delete("key")

        assert await cache.get("key") is None

    async def test_a_value_ends_with_its_time(self, cache: Cache, pass_time: Pass) -> None:
        await cache.set("short", b"value", ttl=SHORT)
        await cache.set("long", b"value", ttl=LONG)

        await pass_time(2 * SHORT)

        assert await cache.get("short") is None
        assert await cache.get("long") == b"value"

    @pytest.mark.parametrize("ttl", [timedelta(0), timedelta(seconds=-1)])
    async def test_no_time_is_no_value(self, cache: Cache, ttl: timedelta) -> None:
        await cache.set("key", b"old", ttl=LONG)

        await cache.set("key", b"new", ttl=ttl)

        assert await cache.get("key") is None

    async def test_a_tiny_time_is_no_error(self, cache: Cache, pass_time: Pass) -> None:
        await cache.set("key", b"value", ttl=timedelta(microseconds=1))

        await pass_time(SHORT)

        assert await cache.get("key") is None

    @pytest.mark.parametrize("value", [b"", b"\x00\xff\r\n", b"x" * 100_000])
    async def test_any_bytes_come_back_as_they_were(self, cache: Cache, value: bytes) -> None:
        await cache.set("key", value, ttl=LONG)

        assert await cache.get("key") == value

    async def test_any_text_is_a_key_and_no_two_meet(self, cache: Cache) -> None:
        for number, key in enumerate(ODD_KEYS):
            await cache.set(key, str(number).encode(), ttl=LONG)

        assert [await cache.get(key) for key in ODD_KEYS] == [str(number).encode() for number in range(len(ODD_KEYS))]

    async def test_many_at_once_do_not_mix(self, cache: Cache) -> None:
        async def there_and_back(number: int) -> bytes | None:
            await cache.set(f"key {number}", str(number).encode(), ttl=LONG)
            return await cache.get(f"key {number}")

        values = await asyncio.gather(*map(there_and_back, range(100)))

        assert values == [str(number).encode() for number in range(100)]
