"""The response that follows an answer: it comes and goes, the answer stays."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from datetime import timedelta
from enum import Enum

from litestar.types import Receive, Scope, Send

from llm_backend.application.ports.answer_journal import NumberedEvent
from llm_backend.domain.answers import INTERRUPTED, STOPPED, Failed, is_last
from llm_backend.domain.errors import AnswerNotFound, DomainError
from llm_backend.interface.http.errors import reply_to_code
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
    """An ASGI application that writes the batches of one answer until it ends or the client leaves."""

    batches: AsyncIterator[Batch]
    framing: Framing
    opening: Opening
    keep_alive: timedelta
    _open: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)
    _now: Callable[[], float] = field(init=False)
    _written_at: float = field(default=0.0, init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        request = asyncio.current_task()
        assert request is not None
        self._now = asyncio.get_running_loop().time  # kept, as asking for the loop is a system call
        self._written_at = self._now()
        # Not in the task of the request: each token would wake up the whole pile of coroutines that lead to here.
        writer = asyncio.create_task(self._follow(scope, receive, send))
        watcher = asyncio.create_task(self._watch(receive, send, writer))
        try:
            await writer
        except asyncio.CancelledError:
            if not self._left or request.cancelling():
                raise
        finally:
            watcher.cancel()

    # Writing ---------------------------------------------------------------------------------------------------------

    async def _follow(self, scope: Scope, receive: Receive, send: Send) -> None:
        async with aclosing(self.batches) as batches:  # type: ignore[type-var]
            first: Batch = () if self.opening is Opening.RESUMED else await _next(batches)
            if self.opening is Opening.SENT and (failure := _refusal(first)):
                await reply_to_code(failure.code, failure.message, scope)(scope, receive, send)
            elif self.opening is Opening.REREAD and not first:
                await nothing_left(scope, receive, send)
            else:
                await send({"type": "http.response.start", "status": 200, "headers": HEADERS})
                self._open = True
                await self._write_all(first, batches, send)

    async def _write_all(self, first: Batch, batches: AsyncIterator[Batch], send: Send) -> None:
        """After the first byte an error is an event."""
        ending = b""
        try:
            if first and await self._write(first, send):
                return
            async for batch in batches:
                if await self._write(batch, send):
                    return
        except AnswerNotFound:
            pass  # its events have been forgotten: nothing is left
        except DomainError as error:
            ending = self.framing.encode_failure(Failed(error.code, str(error)))
        except Exception:
            logger.exception("a stream broke off")
            ending = self.framing.encode_failure(Failed("internal_error", "The stream was broken off"))
        await send({"type": "http.response.body", "body": ending, "more_body": False})

    async def _write(self, batch: Batch, send: Send) -> bool:
        """The hot path: one batch, one piece of bytes. True when it was the last."""
        last = is_last(batch[-1][1])
        if (body := self.framing.encode(batch)) or last:
            await send({"type": "http.response.body", "body": body, "more_body": not last})
            self._written_at = self._now()
        return last

    # Watching --------------------------------------------------------------------------------------------------------

    async def _watch(self, receive: Receive, send: Send, writer: "asyncio.Task[None]") -> None:
        """See the client leave; meanwhile keep a silent stream alive, where the framing allows it."""
        while not await self._is_left(receive):
            if self._silence() <= timedelta():
                self._written_at = self._now()
                if self._open:
                    await send({"type": "http.response.body", "body": PING, "more_body": True})
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


async def _next(batches: AsyncIterator[Batch]) -> Batch:
    """The next batch, empty at the end.

    `anext` with a tuple for its default raises SystemError in that place, before Python 3.12.9 and 3.13.2.
    """
    async for batch in batches:
        return batch
    return ()


def _refusal(first: Batch) -> Failed | None:
    event = first[0][1] if first else None
    return event if isinstance(event, Failed) and event.code not in PARTIAL else None
