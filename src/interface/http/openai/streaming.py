"""A stream of events that come as bytes: it begins with the first of them and ends with the last, or with an error."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field

import msgspec
from litestar.types import Receive, Scope, Send

from llm_backend.domain.errors import DomainError, Overloaded, ShuttingDown
from llm_backend.interface.http.edge import Write, piece_writer
from llm_backend.interface.http.errors import openai_object, reply_to
from llm_backend.interface.http.stepping import begun

logger = logging.getLogger(__name__)

MOST_UNSENT = 4 * 1024 * 1024  # bytes that may wait for a client that reads more slowly than the model writes

HEADERS = [
    (b"content-type", b"text/event-stream; charset=utf-8"),
    (b"cache-control", b"no-cache"),
    (b"x-accel-buffering", b"no"),
]

_encode = msgspec.json.Encoder().encode

Pour = Callable[[bytes], None]


@dataclass(slots=True, eq=False)
class EventStream:
    """An ASGI application that writes what `run` pours, right away, until that returns or the client leaves.

    What `run` raises before the first piece is a status; after it, an event with an `error`, at which clients raise.
    """

    run: Callable[[Pour], Awaitable[None]]
    _open: bool = field(default=False, init=False)
    _left: bool = field(default=False, init=False)
    _unsent: list[bytes] = field(default_factory=list, init=False)
    _unsent_size: int = field(default=0, init=False)
    _sending: "asyncio.Task[None] | None" = field(default=None, init=False)
    _send: Send = field(init=False)
    _write: Write = field(init=False)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._send, self._write = send, piece_writer(scope, send)
        request = asyncio.current_task()
        assert request is not None
        watcher = asyncio.create_task(self._watch(receive, request))
        try:
            ending = await self._run(scope, receive)
            if self._sending is not None:
                await self._sending
            if self._open:
                self._open = False
                await send({"type": "http.response.body", "body": ending, "more_body": False})
        except asyncio.CancelledError:
            if not self._left:
                self._break_off()
                raise
            if request.uncancel():
                raise
        finally:
            watcher.cancel()
            if self._sending is not None:
                self._sending.cancel()

    async def _run(self, scope: Scope, receive: Receive) -> bytes:
        try:
            await self.run(self._pour)
        except DomainError as error:
            return await self._failed(error, scope, receive)
        except Exception as error:
            if not self._open:
                raise
            logger.exception("a stream broke off")
            return await self._failed(error, scope, receive)
        return b""

    def _break_off(self) -> None:
        """The server goes before the answer has come to its end, which must not look like one. Who reads too slowly
        only sees that the connection breaks off, as nobody can be waited for now."""
        if not self._open or self._sending is not None:
            return
        body = _event_of(ShuttingDown())
        with suppress(Exception):  # whatever it is, the request was cancelled
            begun(self._send({"type": "http.response.body", "body": body, "more_body": False}))

    async def _failed(self, error: Exception, scope: Scope, receive: Receive) -> bytes:
        if self._open:
            return _event_of(error)
        await reply_to(error, scope)(scope, receive, self._send)
        return b""

    def _pour(self, events: bytes) -> None:
        """The hot path: one piece, one write, and no task is woken up for it."""
        if not self._open:
            self._open = True
            self._go_on(begun(self._send({"type": "http.response.start", "status": 200, "headers": list(HEADERS)})))
        if self._sending is None:
            self._go_on(self._write(events))
        else:
            self._wait_with(events)

    def _go_on(self, unsent: Awaitable[None] | None) -> None:
        if unsent is not None:
            self._sending = asyncio.create_task(self._send_waiting(unsent))

    def _wait_with(self, events: bytes) -> None:
        self._unsent.append(events)
        self._unsent_size += len(events)
        if self._unsent_size > MOST_UNSENT:
            raise Overloaded("The client reads too slowly")

    async def _send_waiting(self, unsent: Awaitable[None]) -> None:
        """The client reads more slowly than the model writes: what comes meanwhile is sent together."""
        await unsent
        while self._unsent:
            body = b"".join(self._unsent)
            self._unsent.clear()
            self._unsent_size = 0
            if (rest := self._write(body)) is not None:
                await rest
        self._sending = None

    async def _watch(self, receive: Receive, request: "asyncio.Task[object]") -> None:
        """See the client leave: nobody else wants this answer."""
        while (await receive())["type"] != "http.disconnect":
            pass
        self._left = True
        request.cancel()


def _event_of(error: Exception) -> bytes:
    return b"data: " + _encode(openai_object(error)) + b"\n\n"
