"""Counting attempts over all replicas."""

from datetime import timedelta
from secrets import token_hex

from llm_backend.application.ports.rate_limiter import RateLimit, RateLimiter
from llm_backend.infrastructure.redis.connection import RedisAway, RedisConnection
from llm_backend.infrastructure.redis.keys import redis_key

# A sorted set of attempts by time, in microseconds of Redis' own clock: those of the replicas may differ. A script is
# atomic. An empty name only looks. Returns 0, or how long to wait; a clock that was set back cannot make that longer
# than the period.
ATTEMPT = """
local clock = redis.call('TIME')
local now = clock[1] * 1000000 + clock[2]
local count, period, name = tonumber(ARGV[1]), tonumber(ARGV[2]), ARGV[3]
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', string.format('%d', now - period))
local present = redis.call('ZCARD', KEYS[1])
if present >= count then
  local freed = redis.call('ZRANGE', KEYS[1], present - count, present - count, 'WITHSCORES')
  return math.max(1, math.min(period, tonumber(freed[2]) + period - now))
end
if name ~= '' then
  redis.call('ZADD', KEYS[1], string.format('%d', now), name)
  redis.call('PEXPIRE', KEYS[1], math.ceil(period / 1000))
end
return 0
"""
A_MICROSECOND = timedelta(microseconds=1)


class RedisRateLimiter:
    """One count for all replicas; while Redis is away, `fallback` counts for this one alone."""

    def __init__(self, connection: RedisConnection, fallback: RateLimiter) -> None:
        self._connection = connection
        self._fallback = fallback

    async def blocked(self, key: str, limit: RateLimit) -> timedelta | None:
        try:
            return await self._wait(key, limit, "")
        except RedisAway:
            return await self._fallback.blocked(key, limit)

    async def hit(self, key: str, limit: RateLimit) -> timedelta | None:
        try:
            return await self._wait(key, limit, token_hex(8))
        except RedisAway:
            return await self._fallback.hit(key, limit)

    async def reset(self, key: str) -> None:
        await self._fallback.reset(key)
        try:
            await self._connection.run(lambda client: client.delete(redis_key("attempts", key)))
        except RedisAway:
            return  # they run out by themselves

    async def _wait(self, key: str, limit: RateLimit, name: str) -> timedelta | None:
        if limit.count < 1:
            return limit.period
        keys, arguments = [redis_key("attempts", key)], [limit.count, limit.period // A_MICROSECOND, name]
        wait = await self._connection.run(lambda client: client.register_script(ATTEMPT)(keys, arguments))
        return timedelta(microseconds=wait) if wait else None
