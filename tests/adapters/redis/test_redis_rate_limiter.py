import asyncio
from datetime import timedelta

import pytest

from llm_backend.application.ports.rate_limiter import RateLimit, RateLimiter
from llm_backend.infrastructure.memory.rate_limiter import MemoryRateLimiter
from llm_backend.infrastructure.redis.connection import Patience, RedisConnection
from llm_backend.infrastructure.redis.rate_limiter import RedisRateLimiter
from llm_backend.infrastructure.redis.servers import RedisCommands
from llm_backend.testing.contracts.rate_limiter import MINUTE, THREE, RateLimiterContract
from tests.servers import RedisServer

UNHURRIED = Patience(command=timedelta(seconds=20), cool_down=timedelta(0))


class TestRedisRateLimiter(RateLimiterContract):
    @pytest.fixture
    def limiter(self, connection: RedisConnection) -> RateLimiter:
        return RedisRateLimiter(connection, MemoryRateLimiter())


async def test_of_many_at_once_over_two_replicas_exactly_so_many_pass(shared_server: RedisServer) -> None:
    twenty = RateLimit(count=20, period=MINUTE)
    async with (
        RedisConnection.open(shared_server.address, patience=UNHURRIED) as first,
        RedisConnection.open(shared_server.address, patience=UNHURRIED) as second,
    ):
        limiters = [RedisRateLimiter(connection, MemoryRateLimiter()) for connection in (first, second)]
        await limiters[0].reset("shared")

        waits = await asyncio.gather(*(limiter.hit("shared", twenty) for limiter in limiters * 50))

        assert waits.count(None) == 20


async def test_nothing_stays_in_redis_for_ever(connection: RedisConnection) -> None:
    limiter = RedisRateLimiter(connection, MemoryRateLimiter())

    await limiter.hit("key", THREE)
    await limiter.blocked("other", THREE)

    keys = await connection.run(all_keys)
    left = [await connection.run(lambda client, key=key: client.pttl(key)) for key in keys]  # type: ignore[misc]
    assert len(keys) == 1
    assert all(0 < milliseconds <= 60_000 for milliseconds in left)


async def test_names_of_users_do_not_stand_in_redis(connection: RedisConnection) -> None:
    await RedisRateLimiter(connection, MemoryRateLimiter()).hit("login:alice", THREE)

    assert "alice" not in repr(await connection.run(all_keys))


async def test_without_redis_each_replica_counts_and_afterwards_redis_does_again(server: RedisServer) -> None:
    async with RedisConnection.open(server.address, patience=UNHURRIED) as connection:
        limiter = RedisRateLimiter(connection, MemoryRateLimiter())
        await limiter.hit("key", THREE)

        server.stop()
        away = [await limiter.hit("key", THREE) is None for _ in range(5)]
        blocked = await limiter.blocked("key", THREE)
        await limiter.reset("key")
        after_reset = await limiter.hit("key", THREE)
        server.start()  # empty, and it does not know the script any more
        back = [await limiter.hit("key", THREE) is None for _ in range(5)]

    assert away == back == [True, True, True, False, False]
    assert blocked is not None
    assert after_reset is None


async def all_keys(client: RedisCommands) -> list[bytes]:
    return [key async for key in client.scan_iter()]  # type: ignore[attr-defined]
