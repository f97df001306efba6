"""A connection to Redis that gives up quickly, and comes back by itself.

The library is imported when a connection is opened: without Redis in the settings, nothing of it is loaded.
"""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Protocol, TypeVar, cast

from llm_backend.domain.errors import Unavailable
from llm_backend.domain.secrets import Secret

T = TypeVar("T")
logger = logging.getLogger(__name__)


class RedisCommands(Protocol):
    """What we use of the library's client."""

    async def ping(self) -> object: ...

    async def get(self, name: str) -> bytes | None: ...

    async def set(self, name: str, value: bytes, *, px: int) -> object: ...

    async def delete(self, name: str) -> object: ...

    def register_script(self, script: str) -> Callable[..., Awaitable[int]]:
        """The script, to be called by its hash; it is sent again when Redis does not know it, as after a restart."""

    @property
    def connection_pool(self) -> "_Pool": ...

    async def aclose(self) -> None: ...


class _Pool(Protocol):
    async def disconnect(self, inuse_connections: bool = True) -> None: ...


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
        client: RedisCommands,
        patience: Patience | None = None,
        *,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._patience = patience or Patience()
        self._monotonic = monotonic
        self._away_until: float | None = None

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        address: str,
        *,
        password: Secret | None = None,
        db: int = 0,
        patience: Patience | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> AsyncIterator["RedisConnection"]:
        """`address` is `host:port` or a URL (`redis://`, `rediss://`, `unix://`). Does not connect yet.

        Raises `ValueError` when the address is none.
        """
        patience = patience or Patience()
        client = _client(address, password, db, patience.command.total_seconds())
        try:
            yield cls(client, patience, monotonic=monotonic)
        finally:
            await client.aclose()

    async def run(self, command: Callable[[RedisCommands], Awaitable[T]]) -> T:
        """What the command returns. Raises `RedisAway`."""
        if self._away_until is not None:
            if self._monotonic() < self._away_until:
                raise RedisAway
            self._start_to_cool_down()  # one tries, the others go on waiting
        return await self._try(command)

    async def check(self) -> None:
        """Ask whether it is there, whatever the fuse says. Raises `RedisAway`."""
        await self._try(lambda client: client.ping())

    async def _try(self, command: Callable[[RedisCommands], Awaitable[T]]) -> T:
        """After a failure all connections of the pool are suspect. Those that a restart of Redis has cut would, each in
        its turn, make it look away once more when it is back."""
        from redis.exceptions import RedisError

        try:
            async with asyncio.timeout(self._patience.command.total_seconds()):
                result = await command(self._client)
        except (RedisError, OSError, TimeoutError) as error:
            self._note_absence(error)
            await self._client.connection_pool.disconnect(inuse_connections=False)
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


def _client(address: str, password: Secret | None, db: int, seconds: float) -> RedisCommands:
    """No retries and few connections: each would be a way to wait longer than anybody has time for."""
    from redis.asyncio import BlockingConnectionPool, Redis
    from redis.asyncio.retry import Retry
    from redis.backoff import NoBackoff

    url = address if "://" in address else f"redis://{address}"
    options: dict[str, Any] = {
        "db": db,
        "max_connections": 8,
        "timeout": seconds,
        "socket_timeout": None,  # ours holds for all of a command; theirs, on Python 3.11, swallows cancellations
        "socket_connect_timeout": seconds,
        "retry": Retry(NoBackoff(), 0),
    }
    if password is not None:
        options["password"] = password.reveal()
    return cast(RedisCommands, Redis.from_pool(BlockingConnectionPool.from_url(url, **options)))
