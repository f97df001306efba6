"""The events of running answers, shared by all replicas.

What is written here is followed in the process, as without Redis; Redis gets a copy, from which other replicas serve
their readers and the one that takes over an answer knows what was seen of it.
"""

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import islice
from typing import Self

from llm_backend.application.ending import ended
from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import LogReader, StreamLog
from llm_backend.domain.answers import AnswerEvent, is_last
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import AnswerId
from llm_backend.infrastructure.codec.events import encode_events
from llm_backend.infrastructure.redis.connection import Patience, RedisAway, RedisConnection
from llm_backend.infrastructure.redis.entries import ENDED_SECONDS, RUNNING_SECONDS, EntryWriter, stream_key
from llm_backend.infrastructure.redis.pipelining import Refused, run_all
from llm_backend.infrastructure.redis.remote_log import SILENCE, RemoteLog
from llm_backend.infrastructure.redis.servers import Command, Reply

logger = logging.getLogger(__name__)

# For its connection: the longest time for which a reader waits when Redis goes away.
PATIENCE = Patience(command=timedelta(seconds=1))
# The least time from the beginning of one write to that of the next. Nobody sees 20 ms between two pieces of text,
# and at 100 tokens a second it makes one entry of two.
PAUSE = timedelta(milliseconds=20)
RETRY = timedelta(seconds=1)  # while Redis is away
REFRESH = timedelta(seconds=RUNNING_SECONDS / 4)  # how often a stream that is written to gets its time to live anew
# What one write takes on, roughly: after an absence there may be much to catch up on, within the time of one command.
MOST_BYTES = 1024 * 1024
MOST_OUTDATED = 10_000  # streams


class RedisStreamLog:
    """Redis first, then the readers: no reader has seen what would be lost to the others with this process.

    All answers share one write at a time, so that the cost does not grow with the tokens. While Redis is away events
    go to the local readers at once, and are written when it is back, for as long as their answer is running; what
    ended meanwhile is deleted there, as the journal has all of it. `async with` it: at the end everything is written.
    """

    def __init__(self, local: StreamLog, connection: RedisConnection, *, silence: timedelta = SILENCE) -> None:
        """`local` holds what is written here. `connection` should be its own, opened with `PATIENCE`."""
        self._local = local
        self._connection = connection
        self._remote = RemoteLog(connection, silence=silence)
        self._open: dict[AnswerId, _Outgoing] = {}
        self._ending: dict[AnswerId, _Outgoing] = {}  # closed, and not all of it delivered
        self._news: dict[_Outgoing, None] = {}  # in the order in which it came
        self._outdated: dict[bytes, None] = {}  # streams whose answers ended while Redis was away
        self._away = False
        self._refusal_noted = False
        self._stopping = False
        self._writing: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stopping = True
        if self._writing:
            await (ended(self._writing) if self._away else asyncio.wait([self._writing]))
        await self._remote.aclose()

    def open(self, answer: AnswerId, *, after: int = 0) -> None:
        if ending := self._ending.pop(answer, None):
            self._settle(ending)
        self._local.open(answer, after=after)
        outgoing = _Outgoing(answer, EntryWriter(stream_key(answer), after), acknowledged=after, delivered=after)
        self._outdated.pop(outgoing.writer.key, None)
        self._open[answer] = outgoing
        self._write_soon(outgoing)

    def append(self, answer: AnswerId, events: Sequence[AnswerEvent]) -> int:
        outgoing = self._open.get(answer)
        if outgoing is None:
            raise ValueError(f"The log of answer {answer} is not open")
        if events:
            outgoing.events += events
            if outgoing.settled:
                return outgoing.last  # taken over, of which the one who appends is yet to hear
            outgoing.is_whole = is_last(events[-1])
            if self._away:
                self._deliver(outgoing, outgoing.last)
            self._write_soon(outgoing)
        return outgoing.last

    def close(self, answer: AnswerId) -> None:
        outgoing = self._open.pop(answer, None)
        if outgoing is None or outgoing.settled:
            return
        outgoing.closing = True
        self._ending[answer] = outgoing
        if self._away:
            self._give_up(outgoing)
        else:
            self._write_soon(outgoing)

    def is_open(self, answer: AnswerId) -> bool:
        return answer in self._open

    def follow(self, answer: AnswerId, *, after: int = 0) -> AsyncIterator[Sequence[NumberedEvent]]:
        if self._local.is_open(answer):
            return self._local.follow(answer, after=after)
        return self._follow_what_ended(answer, after)

    async def push(self, answer: AnswerId, reader: LogReader, *, after: int) -> bool:
        if self._local.is_open(answer):
            return await self._local.push(answer, reader, after=after)
        async with aclosing(self._follow_what_ended(answer, after)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                if reader.take(batch) or is_last(batch[-1][1]):
                    return True
        return False

    async def starts_after(self, answer: AnswerId) -> int:
        return await self._local.starts_after(answer) or await self._remote.starts_after(answer)

    async def tail(self, answer: AnswerId, *, after: int) -> Sequence[NumberedEvent]:
        return await self._remote.tail(answer, after=after)

    async def _follow_what_ended(self, answer: AnswerId, after: int) -> AsyncIterator[Sequence[NumberedEvent]]:
        """It is kept here for a while; and what never was here may be in Redis."""
        try:
            async with aclosing(self._local.follow(answer, after=after)) as batches:  # type: ignore[type-var]
                async for batch in batches:
                    yield batch
                    after = batch[-1][0]
                    if is_last(batch[-1][1]):
                        return
        except AnswerNotFound:
            pass
        async with aclosing(self._remote.follow(answer, after=after)) as batches:  # type: ignore[type-var]
            async for batch in batches:
                yield batch

    # Writing ---------------------------------------------------------------------------------------------------------

    def _write_soon(self, outgoing: "_Outgoing") -> None:
        self._news[outgoing] = None
        if self._writing is None:
            self._writing = asyncio.create_task(self._write(), name="redis stream writer")

    async def _write(self) -> None:
        """At once after a silence; then with a pause between two writes, in which events gather."""
        now = asyncio.get_running_loop().time
        try:
            while (self._news or self._outdated) and not (self._away and self._stopping):
                began = now()
                await self._write_once(began)
                pause = RETRY if self._away else PAUSE
                await asyncio.sleep(max(0.0, began + pause.total_seconds() - now()))
        finally:
            self._writing = None

    async def _write_once(self, now: float) -> None:
        outdated = list(self._outdated)
        try:
            parts = self._parts(now)
            commands: list[Command] = [(b"DEL", key) for key in outdated]
            commands += [command for part in parts for command in part.commands]
            replies = await run_all(self._connection, commands)
        except RedisAway:
            self._lose()
        except Exception:
            logger.exception("writing to Redis failed unexpectedly")
            self._lose()
        else:
            self._away = False
            for key in outdated:
                self._outdated.pop(key, None)
            rest = iter(replies[len(outdated) :])
            for part in parts:
                self._acknowledge(part, list(islice(rest, len(part.commands))))

    def _parts(self, now: float) -> "list[_Part]":
        """What there is news of, the longest waiting first."""
        parts: list[_Part] = []
        size = 0
        for outgoing in self._news:
            if size > MOST_BYTES:
                break
            parts.append(outgoing.part(now))
            size += parts[-1].size
        return parts

    def _acknowledge(self, part: "_Part", replies: Sequence[Reply]) -> None:
        outgoing = part.outgoing
        refused = next((reply for reply in replies if isinstance(reply, Refused)), None)
        if refused and not refused.is_of_late_entry:
            self._note_refusal(refused)
        if outgoing.settled:
            return
        if None in replies:
            outgoing.opened = False  # its stream is gone
        elif refused and refused.is_of_late_entry and outgoing.delivered < part.last:
            self._end(outgoing)
            return
        else:
            self._deliver(outgoing, part.last)
            outgoing.acknowledge(part)
        del self._news[outgoing]
        if outgoing.has_news:
            self._news[outgoing] = None  # behind the others
        elif outgoing.closing:
            self._settle(outgoing)

    def _note_refusal(self, refused: Refused) -> None:
        """A stream that takes nothing is as good as none: its readers elsewhere go by the journal."""
        if not self._refusal_noted:
            logger.warning("Redis refuses part of an answer, and others may follow: %s", refused)
            self._refusal_noted = True

    def _deliver(self, outgoing: "_Outgoing", upto: int) -> None:
        """To the readers here, unless they have it already."""
        if not outgoing.settled and (events := outgoing.take(upto)):
            self._local.append(outgoing.answer, events)

    # While Redis is away ---------------------------------------------------------------------------------------------

    def _lose(self) -> None:
        """Nobody waits for Redis any more. What it has not acknowledged stays to be written."""
        self._away = True
        for outgoing in [*self._open.values(), *self._ending.values()]:
            self._deliver(outgoing, outgoing.last)
            outgoing.opened = False  # it may be gone when Redis is back
        for outgoing in list(self._ending.values()):
            self._give_up(outgoing)

    def _give_up(self, outgoing: "_Outgoing") -> None:
        self._settle(outgoing)
        if not outgoing.is_whole:
            return  # it goes on in another process, which writes to the same stream
        self._outdated[outgoing.writer.key] = None
        if len(self._outdated) > MOST_OUTDATED:
            del self._outdated[next(iter(self._outdated))]

    def _settle(self, outgoing: "_Outgoing") -> None:
        """End its local log, with all of it delivered; whatever is still on its way to Redis is of no more interest."""
        if not outgoing.settled:
            self._deliver(outgoing, outgoing.last)
            self._end(outgoing)

    def _end(self, outgoing: "_Outgoing") -> None:
        """End its local log with what was delivered. That is all if the answer was taken over while this process stood
        still: its readers go by the journal, and what they have not seen another process writes in its own way."""
        outgoing.settled = True
        self._local.close(outgoing.answer)
        self._news.pop(outgoing, None)
        self._ending.pop(outgoing.answer, None)


@dataclass(slots=True, eq=False)
class _Outgoing:
    """One log on its way to Redis. `events` are those that Redis has not acknowledged."""

    answer: AnswerId
    writer: EntryWriter
    acknowledged: int
    delivered: int
    events: list[AnswerEvent] = field(default_factory=list)
    touched: bool = False  # something of it may be in Redis
    opened: bool = False  # in Redis, and its stream is there for all that is known
    is_whole: bool = False  # the answer has come to its end in it
    closing: bool = False
    closed: bool = False  # in Redis
    settled: bool = False  # its local log is closed
    refresh_at: float = 0.0  # when its stream gets its time to live anew, by the clock of the loop

    @property
    def last(self) -> int:
        return self.acknowledged + len(self.events)

    @property
    def has_news(self) -> bool:
        return bool(self.events) or not self.opened or self.closing is not self.closed

    def part(self, now: float) -> "_Part":
        """All that there is to write of it."""
        payload = encode_events(self.events) if self.events else None
        commands = self._commands(payload, now)
        self.touched = self.touched or bool(commands)
        return _Part(self, self.last, self.closing, now, commands, len(payload or b""))

    def _commands(self, payload: bytes | None, now: float) -> list[Command]:
        """None for a log that was closed before anything was written, as that of a question that is refused; where it
        was opened it is not left behind."""
        writer = self.writer
        if self.closing and self.last == writer.start and not (self.touched and writer.start):
            return [writer.discarded()] if self.touched else []
        if self.closing or not self.opened:
            seconds = ENDED_SECONDS if self.closing and self.is_whole else RUNNING_SECONDS
            return [writer.bounds(self.last, payload, seconds, opens=not self.opened, closes=self.closing)]
        commands = [writer.events(self.last, payload)] if payload else []
        if now >= self.refresh_at:
            commands.append(writer.lives(RUNNING_SECONDS))
        return commands

    def acknowledge(self, part: "_Part") -> None:
        del self.events[: part.last - self.acknowledged]
        self.acknowledged = part.last
        if part.at >= self.refresh_at or not self.opened:
            self.refresh_at = part.at + REFRESH.total_seconds()
        self.opened, self.closed = True, part.closing

    def take(self, upto: int) -> list[AnswerEvent]:
        """What was not delivered yet, up to that number."""
        new = self.events[self.delivered - self.acknowledged : upto - self.acknowledged]
        self.delivered += len(new)
        return new


@dataclass(frozen=True, slots=True)
class _Part:
    """What one write takes of one log: all up to the number `last`."""

    outgoing: _Outgoing
    last: int
    closing: bool
    at: float
    commands: Sequence[Command]
    size: int  # bytes of events
