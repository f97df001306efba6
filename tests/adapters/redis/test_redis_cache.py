from datetime import timedelta

import pytest

from llm_backend.application.ports.cache import Cache
from llm_backend.infrastructure.redis.cache import RedisCache
from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.testing.contracts.cache import LONG, CacheContract
from tests.servers import RedisServer

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))


class TestRedisCache(CacheContract):
    @pytest.fixture
    def cache(self, connection: RedisConnection) -> Cache:
        return RedisCache(connection)


async def test_replicas_see_the_same(connection: RedisConnection) -> None:
    await RedisCache(connection).set("key", b"value", ttl=LONG)

    assert await RedisCache(connection).get("key") == b"value"


async def test_without_redis_it_is_empty_and_afterwards_it_works_again(server: RedisServer) -> None:
    async with RedisConnection.open(server.address, patience=UNHURRIED) as connection:
        cache = RedisCache(connection)
        await cache.set("key", b"value", ttl=LONG)

        server.stop()
        away = await cache.get("key")
        await cache.set("key", b"value", ttl=LONG)
        await cache.delete("key")
        server.start()
        await cache.set("key", b"again", ttl=LONG)

        assert away is None
        assert await cache.get("key") == b"again"


@pytest.mark.parametrize("overwrite", [True, False])
async def test_what_should_have_changed_while_redis_was_away_does_not_come_back(
    server: RedisServer, overwrite: bool
) -> None:
    async with (
        RedisConnection.open(server.address, patience=UNHURRIED) as connection,
        RedisConnection.open("127.0.0.1:1", patience=UNHURRIED) as nowhere,
    ):
        cache = RedisCache(connection)
        await cache.set("key", b"outdated", ttl=LONG)
        await cache.set("other", b"value", ttl=LONG)

        cache._connection = nowhere  # the same Redis, out of reach
        if overwrite:
            await cache.set("key", b"new", ttl=LONG)
        else:
            await cache.delete("key")
        cache._connection = connection

        assert await cache.get("key") is None
        assert await RedisCache(connection).get("key") is None
        assert await cache.get("other") == b"value"


async def test_what_is_remembered_meanwhile_stays_bounded() -> None:
    patience = Patience(command=timedelta(seconds=20), cool_down=timedelta(days=1))
    async with RedisConnection.open("127.0.0.1:1", patience=patience) as nowhere:
        cache = RedisCache(nowhere)

        for number in range(10_100):
            await cache.delete(str(number))

        assert len(cache._outdated) == 10_000
