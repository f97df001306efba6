"""A cache that all replicas share."""

from collections.abc import Awaitable, Callable
from datetime import timedelta

from llm_backend.infrastructure.redis.connection import RedisAway, RedisConnection
from llm_backend.infrastructure.redis.keys import redis_key
from llm_backend.infrastructure.redis.servers import RedisCommands

MOST_OUTDATED = 10_000
A_MILLISECOND = timedelta(milliseconds=1)


class RedisCache:
    """Empty while Redis is away.

    What could not be deleted or overwritten then is remembered, and is not shown by this replica when Redis returns;
    others may show it until its time is up.
    """

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._outdated: dict[str, None] = {}  # keys, oldest first

    async def get(self, key: str) -> bytes | None:
        name = redis_key("cache", key)
        if name in self._outdated and not await self._delete(name):
            return None
        try:
            return await self._connection.run(lambda client: client.get(name))
        except RedisAway:
            return None

    async def set(self, key: str, value: bytes, *, ttl: timedelta) -> None:
        milliseconds = ttl // A_MILLISECOND
        if milliseconds < 1:
            await self.delete(key)
            return
        name = redis_key("cache", key)
        await self._write(name, lambda client: client.set(name, value, px=milliseconds))

    async def delete(self, key: str) -> None:
        await self._delete(redis_key("cache", key))

    async def _delete(self, name: str) -> bool:
        return await self._write(name, lambda client: client.delete(name))

    async def _write(self, name: str, command: Callable[[RedisCommands], Awaitable[object]]) -> bool:
        """Whether it was done."""
        try:
            await self._connection.run(command)
        except RedisAway:
            self._remember(name)
            return False
        self._outdated.pop(name, None)
        return True

    def _remember(self, name: str) -> None:
        self._outdated[name] = None
        if len(self._outdated) > MOST_OUTDATED:
            del self._outdated[next(iter(self._outdated))]
