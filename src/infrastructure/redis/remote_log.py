"""The logs that other replicas write, read from their Redis streams."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from datetime import timedelta

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import LARGEST_ID, AnswerId
from llm_backend.infrastructure.redis.connection import RedisAway, RedisConnection
from llm_backend.infrastructure.redis.entries import (
    Garbage,
    Kind,
    Place,
    RawEntry,
    id_bytes,
    raw_entries,
    readable,
    stream_key,
)
from llm_backend.infrastructure.redis.pipelining import run_all
from llm_backend.infrastructure.redis.stream_reader import MOST_ENTRIES, StreamReader

# After that long without a word nobody can tell from the stream whether it is still written: its writer may be dead,
# it may have run out of time, and the end of its answer may be in the journal alone.
SILENCE = timedelta(seconds=5)
AT_ONCE = 4  # first looks into a stream; many come at the same time when a replica has died


class RemoteLog:
    """Reading keeps the promises of the `StreamLog` port; whoever is told `AnswerNotFound` reads the journal."""

    def __init__(self, connection: RedisConnection, *, silence: timedelta = SILENCE) -> None:
        self._connection = connection
        self._reader = StreamReader(connection)
        self._looking = asyncio.Semaphore(AT_ONCE)  # so that the pool has connections left for the writer
        self._garbage = Garbage()
        self._silence = silence.total_seconds()

    async def aclose(self) -> None:
        await self._reader.aclose()

    async def follow(self, answer: AnswerId, *, after: int = 0) -> AsyncIterator[Sequence[NumberedEvent]]:
        key, place = stream_key(answer), self._place(after)
        try:
            entries = await self._there(key, place)
            while not place.torn:
                if batch := place.read(entries):
                    yield batch
                if place.closed:
                    return
                if not place.torn:
                    async with asyncio.timeout(self._silence):
                        entries = await self._reader.after(key, place.at)
        except (RedisAway, TimeoutError) as error:
            raise AnswerNotFound from error
        raise AnswerNotFound

    async def starts_after(self, answer: AnswerId) -> int:
        try:
            entries = await self._entries(b"XREVRANGE", stream_key(answer), b"+", b"-", b"COUNT", 1)
        except RedisAway:
            return 0
        last = [readable(*entry, self._garbage) for entry in entries]
        return last[0].start if last and last[0] else 0

    async def tail(self, answer: AnswerId, *, after: int) -> list[NumberedEvent]:
        key, place, events = stream_key(answer), self._place(after), list[NumberedEvent]()
        place.jumps = True
        try:
            while not place.torn and (entries := await self._after(key, place)):
                events += place.read(entries)
        except RedisAway:
            pass  # what there is so far is without gaps, too
        return events

    async def _there(self, key: bytes, place: Place) -> list[RawEntry]:
        """What is there already. Raises `AnswerNotFound` when there is no such stream, and `RedisAway`."""
        if entries := await self._after(key, place):
            return entries
        last = await self._entries(b"XREVRANGE", key, b"+", b"-", b"COUNT", 1)
        if not last:
            raise AnswerNotFound
        place.closed = last[0][0][1] == Kind.CLOSED  # before the number that the reader has seen
        return []

    async def _after(self, key: bytes, place: Place) -> list[RawEntry]:
        return await self._entries(b"XRANGE", key, b"(" + id_bytes(place.at), b"+", b"COUNT", MOST_ENTRIES)

    async def _entries(self, *command: bytes | int) -> list[RawEntry]:
        async with self._looking:
            [reply] = await run_all(self._connection, [command])
        return raw_entries(reply)

    def _place(self, after: int) -> Place:
        """No event has a number above that, and Redis takes none far above."""
        return Place(min(max(after, 0), LARGEST_ID), self._garbage)
