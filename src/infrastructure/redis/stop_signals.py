"""Stop signals for all replicas, by Redis' publish and subscribe."""

import asyncio
import logging
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Self

from llm_backend.application.ending import ended
from llm_backend.domain.ids import LARGEST_ID, AnswerId
from llm_backend.infrastructure.redis.connection import RedisAway, RedisConnection
from llm_backend.infrastructure.redis.keys import PREFIX
from llm_backend.infrastructure.redis.pipelining import run_all
from llm_backend.infrastructure.redis.servers import RedisCommands

logger = logging.getLogger(__name__)

CHANNEL = f"{PREFIX}:stop".encode()
LONGEST = len(str(LARGEST_ID))
RETRY = timedelta(seconds=1)
# After that long without a signal it subscribes anew: a connection can be dead without anybody being told.
SILENCE = timedelta(seconds=30)


class RedisStopSignals:
    """Deaf while Redis is away. `async with` it: inside, it hears what is published, if Redis is there."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._subscribers: list[Callable[[AnswerId], None]] = []
        self._listening: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        first: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._listening = asyncio.create_task(self._listen(first), name="stop signals")
        await first
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._listening:
            await ended(self._listening)

    async def publish(self, answer: AnswerId) -> None:
        try:
            await run_all(self._connection, [(b"PUBLISH", CHANNEL, answer)])
        except RedisAway:
            logger.warning("a stop signal reaches nobody, as Redis is away", extra={"answer": answer})

    def subscribe(self, on_stop: Callable[[AnswerId], None]) -> None:
        self._subscribers.append(on_stop)

    async def _listen(self, first: asyncio.Future[None]) -> None:
        """`first` is done when the first attempt has succeeded or failed."""
        while True:
            try:
                subscription = await self._connection.run(_subscribed)
            except RedisAway:
                subscription = None
            if not first.done():
                first.set_result(None)
            if subscription is None or not await self._hear(subscription):
                await asyncio.sleep(RETRY.total_seconds())

    async def _hear(self, subscription: Any) -> bool:
        """Pass on what comes until there is a silence; False when the connection breaks."""
        from redis.exceptions import RedisError

        try:
            while message := await subscription.get_message(timeout=SILENCE.total_seconds()):
                self._pass_on(message)
        except (RedisError, OSError):
            return False
        finally:
            await subscription.aclose()
        return True

    def _pass_on(self, message: dict[str, Any]) -> None:
        data = message["data"]
        if message["type"] == "message" and data.isdigit() and len(data) <= LONGEST and 0 < int(data) <= LARGEST_ID:
            for on_stop in self._subscribers:
                on_stop(AnswerId(int(data)))


async def _subscribed(client: RedisCommands) -> Any:
    """In a cluster, at any of the servers: they pass on to each other what is published."""
    await client.initialize()
    subscription = client.pubsub()
    try:
        await subscription.subscribe(CHANNEL)
        await subscription.get_message(timeout=None)  # the word that it has begun
    except BaseException:
        await subscription.aclose()
        raise
    return subscription
