"""The events of running answers, in memory."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import LogReader
from llm_backend.domain.answers import AnswerEvent, Delta, Failed, FullText
from llm_backend.domain.errors import AnswerNotFound
from llm_backend.domain.ids import AnswerId

EVENT_BYTES = 64  # a text and its place in the list, its characters aside


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """How much of what has ended is kept for late readers; what goes first is what ended first."""

    logs: int = 250
    bytes: int = 8 * 1024 * 1024
    time: timedelta = timedelta(minutes=1)


class MemoryStreamLog:
    """One list of events per answer, and one future per reader that has read all of it.

    Not for use by several threads: everything happens on the event loop.
    """

    def __init__(self, kept: Kept | None = None, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._kept = kept or Kept()
        self._monotonic = monotonic
        self._open: dict[AnswerId, _Log] = {}
        self._closed: dict[AnswerId, _Log] = {}  # in the order of closing
        self._closed_bytes = 0

    def open(self, answer: AnswerId, *, after: int = 0) -> None:
        if answer in self._open:
            raise ValueError(f"The log of answer {answer} is open already")
        self._forget(answer)
        self._open[answer] = _Log(start=after)

    def append(self, answer: AnswerId, events: Sequence[AnswerEvent]) -> int:
        log = self._open.get(answer)
        if log is None:
            raise ValueError(f"The log of answer {answer} is not open")
        return log.add(events) if events else log.last

    def close(self, answer: AnswerId) -> None:
        log = self._open.pop(answer, None)
        if log is None:
            return
        log.close(self._monotonic())
        self._closed[answer] = log
        self._closed_bytes += log.bytes
        self._forget_the_oldest()

    def is_open(self, answer: AnswerId) -> bool:
        return answer in self._open

    async def follow(self, answer: AnswerId, *, after: int = 0) -> AsyncIterator[Sequence[NumberedEvent]]:
        log = self._find(answer)
        after = max(after, 0)
        if log is None or after < log.start:
            raise AnswerNotFound
        loop = asyncio.get_running_loop()  # once, as it asks the system for the process' id each time
        while True:
            if after < log.last:
                batch = log.numbered(after)
                after += len(batch)
                yield batch
            elif log.closed_at is not None:
                return
            else:
                future = log.change(loop)
                try:
                    await future
                finally:
                    log.waiting.discard(future)

    async def push(self, answer: AnswerId, reader: LogReader, *, after: int) -> bool:
        log = self._find(answer)
        if log is None or after < log.start:
            raise AnswerNotFound
        if after < log.last and reader.take(log.numbered(after)):
            return True
        return log.is_whole if log.closed_at is not None else await log.attached(reader, after)

    async def starts_after(self, answer: AnswerId) -> int:
        log = self._find(answer)
        return log.start if log else 0

    async def tail(self, answer: AnswerId, *, after: int) -> Sequence[NumberedEvent]:
        """Nothing: there is no elsewhere."""
        del answer, after
        return ()

    def _find(self, answer: AnswerId) -> "_Log | None":
        self._forget_the_oldest()
        return self._open.get(answer) or self._closed.get(answer)

    def _forget_the_oldest(self) -> None:
        while self._closed and self._is_too_much(next(iter(self._closed.values()))):
            self._forget(next(iter(self._closed)))

    def _is_too_much(self, oldest: "_Log") -> bool:
        assert oldest.closed_at is not None
        return (
            len(self._closed) > self._kept.logs
            or self._closed_bytes > self._kept.bytes
            or self._monotonic() - oldest.closed_at >= self._kept.time.total_seconds()
        )

    def _forget(self, answer: AnswerId) -> None:
        log = self._closed.pop(answer, None)
        if log is not None:
            self._closed_bytes -= log.bytes


@dataclass(slots=True)
class _Log:
    """It keeps deltas as bare texts: they are half as large, and the garbage collector need not look at them, for which
    it took a tenth of all CPU."""

    start: int  # the number before the first event's
    events: list[AnswerEvent | str] = field(default_factory=list)
    waiting: set[asyncio.Future[None]] = field(default_factory=set)
    attachments: "list[_Attachment]" = field(default_factory=list)
    closed_at: float | None = None
    bytes: int = 0

    @property
    def last(self) -> int:
        return self.start + len(self.events)

    @property
    def is_whole(self) -> bool:
        """Whether the answer has come to its end in it."""
        return bool(self.events) and isinstance(self.events[-1], FullText | Failed)

    def numbered(self, after: int) -> list[NumberedEvent]:
        new = self.events[after - self.start :]
        return [(number, Delta(one) if isinstance(one, str) else one) for number, one in enumerate(new, after + 1)]

    def add(self, events: Sequence[AnswerEvent]) -> int:
        """The hot path. The number of the last event."""
        last = self.start + len(self.events)
        self.events += [event.text if type(event) is Delta else event for event in events]
        if self.attachments:
            new = list(enumerate(events, last + 1))
            for attachment in tuple(self.attachments):
                attachment.hand(new)
        if self.waiting:
            self.wake()
        return last + len(events)

    async def attached(self, reader: LogReader, after: int) -> bool:
        """Let a reader who knows all that is there take what comes. As `push`."""
        attachment = _Attachment(reader, after, asyncio.get_running_loop().create_future())
        self.attachments.append(attachment)
        try:
            return await attachment.over
        finally:
            self.attachments.remove(attachment)

    def change(self, loop: asyncio.AbstractEventLoop) -> asyncio.Future[None]:
        """Done at the next `wake`. A future of its own costs a third of what a condition does."""
        future = loop.create_future()
        self.waiting.add(future)
        return future

    def wake(self) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(None)
        self.waiting.clear()

    def close(self, at: float) -> None:
        self.closed_at = at
        characters = sum([len(event) for event in self.events if type(event) is str])
        whole = self.events[-1] if self.events else None
        characters += len(whole.text) if isinstance(whole, FullText) else 0
        self.bytes = EVENT_BYTES * len(self.events) + characters
        self.wake()
        for attachment in self.attachments:
            attachment.end(enough=self.is_whole)


@dataclass(slots=True, eq=False)
class _Attachment:
    """A reader that is called, and the coroutine that waits until it is no longer."""

    reader: LogReader
    after: int  # which may be further on than the log is
    over: asyncio.Future[bool]

    def hand(self, events: Sequence[NumberedEvent]) -> None:
        if self.over.done():
            return
        try:
            if events[0][0] <= self.after:
                events = [event for event in events if event[0] > self.after]
            if events and self.reader.take(events):
                self.end(enough=True)
        except Exception as error:  # noqa: BLE001 - it is the reader's, and the one who writes must not suffer from it
            self.over.set_exception(error)

    def end(self, *, enough: bool) -> None:
        if not self.over.done():
            self.over.set_result(enough)
