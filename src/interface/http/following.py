"""The response that follows an answer: it comes and goes, the answer stays."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from litestar.types import Receive, Scope, Send

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.application.ports.stream_log import LogReader
from llm_backend.domain.answers import INTERRUPTED, STOPPED, AnswerEvent, Delta, Failed, is_last
from llm_backend.domain.errors import AnswerNotFound, DomainError
from llm_backend.interface.http.edge import Write, piece_writer
from llm_backend.interface.http.errors import reply_to_code
from llm_backend.interface.http.stepping import begun
from llm_backend.interface.http.streams import EVENT_STREAM, PING, Framing

logger = logging.getLogger(__name__)

Batch = Sequence[NumberedEvent]

HEADERS = [
    (b"content-type", EVENT_STREAM.encode()),
    (b"vary", b"Accept"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]
PARTIAL = {STOPPED, INTERRUPTED}  # failures that belong to an answer even if not a word of it was written


class Opening(Enum):
    """What a stream waits for before it says that all is well."""

    SENT = "sent"  # the first event, which may be a failure: that becomes a status
    RESUMED = "resumed"  # nothing: if nothing is left of the answer, the stream is empty
    REREAD = "reread"  # the first event; 204 tells an EventSource that there is none, and to stop asking


async def nothing_left(scope: Scope, receive: Receive, send: Send) -> None:
    """The reply to those who follow an answer of which nothing is left."""
    del scope, receive
    await send({"type": "http.response.start", "status": 204, "headers": HEADERS[1:]})
    await send({"type": "http.response.body", "body": b"", "more_body": False})


@dataclass(slots=True, kw_only=True, eq=False)
class AnswerStream:
    """An ASGI application that writes the events of one answer until it ends or the client leaves.

    `follow` hands it, as a `LogReader`, what comes after event number `after`. Each batch is written to the socket
    before the one who appended it goes on. Waking up a task for it, and the pile of coroutines that it stands on, was
    a third of what a token cost.
    """

    follow: Callable[[LogReader], Awaitable[None]]
    after: int
    framing: Framing
    opening: Opening
    keep_alive: timedelta
    _first: AnswerEvent | None = field(default=None, init=False)
    _open: bool = field(default=False, init=False)
    _ended: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)
    _unsent: Awaitable[None] | None = field(default=None, init=False)  # when the client reads too slowly
    _send: Send = field(init=False)
    _write: Write = field(init=False)
    _now: Callable[[], float] = field(init=False)
    _written_at: float = field(default=0.0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = asyncio.current_task()
        assert request is not None
        self._now = asyncio.get_running_loop().time  # kept, as asking for the loop is a system call
        self._written_at = self._now()
        self._send, self._write = send, piece_writer(scope, send)
        writer = asyncio.create_task(self._write_all(scope, receive))
        watcher = asyncio.create_task(self._watch(receive, writer))
        try:
            await writer
        except asyncio.CancelledError:
            if not self._left or request.cancelling():
                raise
        finally:
            watcher.cancel()

    # Writing ---------------------------------------------------------------------------------------------------------

    async def _write_all(self, scope: Scope, receive: Receive) -> None:
        if self.opening is not Opening.RESUMED:
            await self.follow(self)
        if self.opening is Opening.SENT and (failure := _refusal(self._first)):
            await reply_to_code(failure.code, failure.message, scope)(scope, receive, self._send)
        elif self.opening is Opening.REREAD and self._first is None:
            await nothing_left(scope, receive, self._send)
        else:
            await self._send({"type": "http.response.start", "status": 200, "headers": HEADERS})
            self._open = True
            await self._write_events()

    async def _write_events(self) -> None:
        """After the first byte an error is an event."""
        ending = b""
        try:
            while not self._ended:
                await self.follow(self)
                if self._unsent is None:
                    break
                await self._unsent
                self._unsent = None
        except AnswerNotFound:
            pass  # its events have been forgotten: nothing is left
        except DomainError as error:
            ending = self.framing.encode_failure(Failed(error.code, str(error)))
        except Exception:
            logger.exception("a stream broke off")
            ending = self.framing.encode_failure(Failed("internal_error", "The stream was broken off"))
        if not self._ended:
            self._ended = True
            await self._send({"type": "http.response.body", "body": ending, "more_body": False})

    def take(self, events: Batch) -> bool:
        """The hot path: one batch, one piece of bytes. The first is only looked at: what it is decides on the reply."""
        number, event = events[-1]
        if not self._open:
            self._first = events[0][1]
            return True
        self.after = number
        self._ended = type(event) is not Delta and is_last(event)
        body = self.framing.encode(events)
        if self._ended:
            self._unsent = begun(self._send({"type": "http.response.body", "body": body, "more_body": False}))
        elif body:
            self._unsent = self._write(body)
            self._written_at = self._now()
        return self._ended or self._unsent is not None

    # Watching --------------------------------------------------------------------------------------------------------

    async def _watch(self, receive: Receive, writer: "asyncio.Task[None]") -> None:
        """See the client leave; meanwhile keep a silent stream alive, where the framing allows it."""
        while not await self._is_left(receive):
            if self._silence() <= timedelta():
                self._written_at = self._now()
                if self._open and not self._ended and (unsent := self._write(PING)):
                    await unsent
        self._left = True
        writer.cancel()

    async def _is_left(self, receive: Receive) -> bool:
        """Wait for the client to leave. False when something else has to be looked after."""
        patience = self._silence().total_seconds() if self.framing.keeps_alive else None
        try:
            async with asyncio.timeout(patience):
                return (await receive())["type"] == "http.disconnect"
        except TimeoutError:
            return False

    def _silence(self) -> timedelta:
        """How much more of it there may be before a comment is due."""
        return self.keep_alive - timedelta(seconds=self._now() - self._written_at)


def _refusal(first: AnswerEvent | None) -> Failed | None:
    return first if isinstance(first, Failed) and first.code not in PARTIAL else None
