"""One reader of Redis streams for all who wait for news in one: a blocking read holds a connection."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import timedelta

from llm_backend.infrastructure.redis.connection import RedisAway, RedisConnection
from llm_backend.infrastructure.redis.entries import EntryId, RawEntry, id_bytes, raw_entries
from llm_backend.infrastructure.redis.pipelining import run_all
from llm_backend.infrastructure.redis.servers import Command, Reply

logger = logging.getLogger(__name__)

# How long one read waits in Redis, or, where it does not, the next one when there is no news: who asks meanwhile for
# another stream, in which there is news already, waits as long at most. Far below the patience for a command.
BLOCK = timedelta(milliseconds=100)
# The least time from the beginning of one read to that of the next, as writers write no more often either.
PAUSE = timedelta(milliseconds=20)
MOST_ENTRIES = 512  # of each stream at once; who is far behind asks again


class StreamReader:
    """Joins what many ask for into one round trip at a time. Nobody who is slow is waited for, and nothing is kept for
    them: each asks for what comes after the place where he is, when he has dealt with what was before."""

    def __init__(self, connection: RedisConnection) -> None:
        self._connection = connection
        self._waiting: dict[asyncio.Future[list[RawEntry]], tuple[bytes, EntryId]] = {}
        self._stopping = False
        self._reading: asyncio.Task[None] | None = None

    async def after(self, key: bytes, place: EntryId) -> list[RawEntry]:
        """The entries of a stream after that place, as soon as there is one; never none. Raises `RedisAway`."""
        future: asyncio.Future[list[RawEntry]] = asyncio.get_running_loop().create_future()
        self._waiting[future] = key, place
        if self._reading is None:
            self._reading = asyncio.create_task(self._read(), name="redis stream reader")
        try:
            return await future
        finally:
            self._waiting.pop(future, None)

    async def aclose(self) -> None:
        """Who still waits hears `RedisAway`, once the last read is over: it is short, and need not be cut off."""
        self._stopping = True
        if self._reading:
            await asyncio.wait([self._reading])

    async def _read(self) -> None:
        try:
            now = asyncio.get_running_loop().time
            pause = PAUSE
            while self._waiting and not self._stopping:
                began = now()
                news = await self._news()
                self._hand_out(news)
                pause = PAUSE if any(news.values()) else min(2 * pause, BLOCK)
                await asyncio.sleep(max(0.0, began + pause.total_seconds() - now()))
        except RedisAway:
            pass  # told below
        except Exception:
            logger.exception("reading from Redis failed unexpectedly")
        finally:
            self._reading = None
            self._tell_all(lambda future: future.set_exception(RedisAway()))

    async def _news(self) -> Mapping[bytes, list[RawEntry]]:
        places: dict[bytes, EntryId] = {}
        for key, place in self._waiting.values():
            places[key] = min(place, places.get(key, place))
        if self._connection.reads_streams_together:
            [reply] = await run_all(self._connection, [_xread(places)])
            return _by_stream(reply)
        replies = await run_all(self._connection, [_xrange(key, place) for key, place in places.items()])
        return dict(zip(places, map(raw_entries, replies), strict=True))

    def _hand_out(self, news: Mapping[bytes, list[RawEntry]]) -> None:
        for future, (key, place) in self._waiting.items():
            entries = [entry for entry in news.get(key, ()) if entry[0] > place]
            if entries and not future.done():
                future.set_result(entries)

    def _tell_all(self, tell: Callable[[asyncio.Future[list[RawEntry]]], None]) -> None:
        for future in self._waiting:
            if not future.done():
                tell(future)


def _xread(places: Mapping[bytes, EntryId]) -> Command:
    milliseconds = BLOCK // timedelta(milliseconds=1)
    ids = map(id_bytes, places.values())
    return b"XREAD", b"COUNT", MOST_ENTRIES, b"BLOCK", milliseconds, b"STREAMS", *places, *ids


def _xrange(key: bytes, place: EntryId) -> Command:
    """Each for itself, without waiting: in a cluster no command has keys of several servers, and one that waits holds
    up all that come behind it."""
    return b"XRANGE", key, b"(" + id_bytes(place), b"+", b"COUNT", MOST_ENTRIES


def _by_stream(reply: Reply) -> dict[bytes, list[RawEntry]]:
    """A map in the newer protocol, pairs in the older; None when there is no news."""
    streams = dict(reply) if isinstance(reply, dict | list) else {}
    return {key: raw_entries(entries) for key, entries in streams.items()}
