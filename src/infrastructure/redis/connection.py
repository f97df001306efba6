"""A connection to Redis that gives up quickly, and comes back by itself.

The library is imported when a connection is opened (see `servers`).
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from secrets import token_hex
from typing import TypeVar

from llm_backend.domain.errors import Unavailable
from llm_backend.domain.secrets import Secret
from llm_backend.infrastructure.redis.keys import redis_key
from llm_backend.infrastructure.redis.servers import (
    CONNECTIONS,
    OneRedis,
    RedisClusterServers,
    RedisCommands,
    RedisServers,
)

T = TypeVar("T")
logger = logging.getLogger(__name__)

CHECKED = timedelta(minutes=1)  # how long the trace of a check stays
A_MILLISECOND = timedelta(milliseconds=1)


class RedisAway(Unavailable):
    """Redis cannot be reached, or was not a moment ago."""

    code = "redis_unavailable"
    default_message = "Redis is temporarily unavailable"


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """How long one command may take, and how long nobody tries again after one has failed."""

    command: timedelta = timedelta(milliseconds=250)
    cool_down: timedelta = timedelta(seconds=1)


class RedisConnection:
    """A pool of connections with a fuse.

    After a failure, callers hear `RedisAway` at once for the time of the cool-down; then one of them tries again.
    So an absent Redis costs the requests of a second the patience for one command, and nothing afterwards.
    """

    def __init__(
        self,
        servers: RedisServers,
        patience: Patience | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._servers = servers
        self._turn = asyncio.Semaphore(CONNECTIONS)
        self._patience = patience or Patience()
        self._monotonic = monotonic
        self._away_until: float | None = None
        self._checked = redis_key("check", token_hex(8))  # one for each process

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        *,
        cluster: bool = False,
        password: Secret | None = None,
        db: int = 0,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator["RedisConnection"]:
        """`address` is `host:port` or a URL (`redis://`, `rediss://`, `unix://`); of a cluster it may be several,
        between commas. Does not connect yet.

        Raises `ValueError` when the address is none.
        """
        patience = patience or Patience()
        seconds = patience.command.total_seconds()
        servers = (
            RedisClusterServers(address, password, seconds) if cluster else OneRedis(address, password, db, seconds)
        )
        try:
            yield cls(servers, patience, monotonic=monotonic)
        finally:
            await servers.client.aclose()

    @property
    def reads_streams_together(self) -> bool:
        """Whether one command may read several streams, and wait for news in any of them."""
        return self._servers.reads_streams_together

    async def run(self, command: Callable[[RedisCommands], Awaitable[T]]) -> T:
        """What the command returns. Raises `RedisAway`."""
        return await self.run_on(lambda servers: command(servers.client))

    async def run_on(self, command: Callable[[RedisServers], Awaitable[T]]) -> T:
        """The same, for what goes past the library's client."""
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                raise RedisAway
            self._start_to_cool_down()  # one tries, the others go on waiting
        return await self._try(command)

    async def check(self) -> None:
        """Find out whether it is there and takes what is written, whatever the fuse says: one that is full, or only
        copies another, still answers. Raises `RedisAway`."""
        await self._try(self._ask_and_write)

    async def _ask_and_write(self, servers: RedisServers) -> None:
        await servers.client.ping()  # all servers of a cluster
        await servers.client.set(self._checked, b"", px=CHECKED // A_MILLISECOND)  # to one

    async def _try(self, command: Callable[[RedisServers], Awaitable[T]]) -> T:
        """After a failure all connections are suspect."""
        from redis.exceptions import RedisClusterException, RedisError

        try:
            async with asyncio.timeout(self._patience.command.total_seconds()), self._turn:
                result = await command(self._servers)
        except (RedisError, RedisClusterException, OSError, TimeoutError) as error:
            self._note_absence(error)
            await self._servers.forget()
            raise RedisAway from error
        self._note_presence()
        return result

    def _note_absence(self, error: Exception) -> None:
        if self._away_until is None:
            logger.warning("Redis is away, going on without it: %r", error)
        self._start_to_cool_down()

    def _note_presence(self) -> None:
        if self._away_until is not None:
            logger.warning("Redis is back")
        self._away_until = None

    def _start_to_cool_down(self) -> None:
        self._away_until = self._monotonic() + self._patience.cool_down.total_seconds()
