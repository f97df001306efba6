"""HTTP connections that cannot be held open for nothing.

uvicorn waits for ever for a request whose head or body never ends, lets the head grow without limit, and keeps what a
client does not read.
"""

import asyncio
import re
import sys
from datetime import timedelta
from functools import partial
from http import HTTPStatus
from typing import Any, ClassVar
from urllib.parse import unquote

from uvicorn._types import ASGI3Application, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llm_backend.interface.http.batched_writes import BatchedWrites
from llm_backend.interface.http.edge import PIECES, refusal, request_id_of
from llm_backend.interface.http.errors import REQUEST_ID
from llm_backend.interface.http.sockets import SocketConnection
from llm_backend.interface.http.unread import unread

LONGEST_HEAD = 64 * 1024  # bytes
SOCKETS = {"/v1/responses"}  # the paths that speak WebSocket
REFUSALS = {
    400: ("malformed_request", "This is not an HTTP request"),
    408: ("request_timeout", "The request took too long to arrive"),
    431: ("head_too_large", "The head of the request is too large"),
}
_TARGET = re.compile(rb"[^ \n]* +(?:https?://[^/\s]*)?([^\s?#]*)")  # with its path as the group


class _TooLarge(Exception):
    """Ends the reading of a request."""


class PatientConnection(HttpToolsProtocol):
    """Closes when the head of a request is not complete `head_timeout` after the connection was made or, on one that
    is kept alive, after the first byte of the request; or when it gets too large; or when nothing of a body arrives
    for `body_timeout`; or when the client takes nothing for `reading_timeout`, once more than 64 KiB wait for it in
    the transport."""

    head_timeout: ClassVar[float] = 10.0
    body_timeout: ClassVar[float] = 20.0
    reading_timeout: ClassVar[float] = 60.0
    writes: ClassVar[BatchedWrites] = BatchedWrites()

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head = bytearray()  # what has come of it, up to one byte more than is allowed
        self._body_timer: asyncio.TimerHandle | None = None
        self._reading_timer: asyncio.TimerHandle | None = None
        self._unread = 0  # bytes that waited for the client when the timer was set
        self._in_body = False
        self._is_too_large = False
        self._upgraded = False

    @classmethod
    def waiting(
        cls, head_timeout: timedelta, body_timeout: timedelta, reading_timeout: timedelta
    ) -> "type[PatientConnection]":
        """The connections of one server, with another patience; uvicorn wants a class."""
        of_this_server = {
            "head_timeout": head_timeout.total_seconds(),
            "body_timeout": body_timeout.total_seconds(),
            "reading_timeout": reading_timeout.total_seconds(),
            "writes": BatchedWrites(),
        }
        return type("PatientConnection", (cls,), of_this_server)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.on_message_begin()  # with the first byte at the latest; nothing is known of the request

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._body_arrived()
        self._is_read()
        super().connection_lost(exc)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._await_reader()

    def resume_writing(self) -> None:
        self._is_read()
        super().resume_writing()

    def data_received(self, data: bytes) -> None:
        if not self._in_body:
            self._head += data[: LONGEST_HEAD + 1 - len(self._head)]
        super().data_received(data)
        if self._upgraded:
            return
        if self._in_body:
            self._await_body()
        elif self._head_timer is None:
            if self._is_idle() and self.timeout_keep_alive_task is None:
                self.on_message_begin()  # blank lines in front of a request, which the parser passes over
        elif len(self._head) > LONGEST_HEAD:
            self._refuse(431)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if self._head_timer is None:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._head_arrived()
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LONGEST_HEAD:
            self._is_too_large = True  # though it came in one piece
            raise _TooLarge
        super().on_headers_complete()  # raises for targets that cannot be taken apart: then no body is awaited
        self._in_body = True

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        cycle.scope[PIECES] = _Pieces(cycle, self.writes)  # type: ignore[literal-required]
        if cycle.scope["http_version"] == "1.0":
            app = partial(_without_chunks, app, cycle)
        super()._start_asgi_task(cycle, app)

    def on_message_complete(self) -> None:
        self._body_arrived()
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """A request to upgrade elsewhere, by another method or with a body is answered as if it had asked for none."""
        return (
            super()._should_upgrade()
            and self._is_idle()  # or what is still to come of another reply would get into the WebSocket
            and self._path().rstrip("/") in SOCKETS
            and self.scope["method"] == "GET"
            and not any(map(_announces_body, self.headers))
        )

    def handle_websocket_upgrade(self) -> None:
        """What comes now is for another protocol to be patient with."""
        self.ws_protocol_class = partial(SocketConnection, path=self._path(), request_id=self._request_id())  # type: ignore[assignment]
        super().handle_websocket_upgrade()
        self._upgraded = True
        self._head_arrived()
        self._body_arrived()
        self._is_read()

    def _unsupported_upgrade_warning(self) -> None:
        """A request to upgrade is answered as if it had asked for none, which is nothing to warn of."""

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(431 if self._is_too_large else 400)

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request, whatever the annotation says
        return cycle is None or cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self.head_timeout, self._refuse, 408)

    def _head_arrived(self) -> None:
        self._head.clear()
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _await_body(self) -> None:
        if self._body_timer is not None:
            self._body_timer.cancel()
        self._body_timer = self.loop.call_later(self.body_timeout, self._body_is_late)

    def _body_arrived(self) -> None:
        self._in_body = False
        if self._body_timer is not None:
            self._body_timer.cancel()
            self._body_timer = None

    def _body_is_late(self) -> None:
        """It is our own doing while we read nothing, or have not yet told the client to go on."""
        if self.flow.read_paused or self.cycle.waiting_for_100_continue:
            self._await_body()
        else:
            self._refuse(408)

    def _await_reader(self) -> None:
        self._unread = unread(self.transport)
        self._reading_timer = self.loop.call_later(self.reading_timeout, self._reader_is_late)

    def _is_read(self) -> None:
        if self._reading_timer is not None:
            self._reading_timer.cancel()
            self._reading_timer = None

    def _reader_is_late(self) -> None:
        """A large reply may take long, as long as some of it is read. Closing would wait for all of it to be."""
        if unread(self.transport) < self._unread:
            self._await_reader()
        else:
            self.transport.abort()

    def _refuse(self, status: int) -> None:
        """Say why, unless that would end up in the middle of another reply, and hang up."""
        if self._can_be_told() and not self.transport.is_closing():
            self.transport.write(self._refusal(status))
        self._head_arrived()
        self._body_arrived()
        self.writes.flush(self.transport)
        self.transport.close()

    def _can_be_told(self) -> bool:
        if self._in_body:
            return not self.cycle.response_started and not self.pipeline
        return self._is_idle()

    def _refusal(self, status: int) -> bytes:
        headers, body = refusal(status, *REFUSALS[status], self._path(), self._request_id())
        lines = [b"HTTP/1.1 %d %b" % (status, HTTPStatus(status).phrase.encode())]
        lines += [b"%b: %b" % header for header in headers]
        return b"\r\n".join([*lines, b"connection: close", b"", body])

    def _path(self) -> str:
        """Whom the request is for, as far as that has come: also where the parser could not read it."""
        found = _TARGET.match(b" " + self.url if self.url else self._head.lstrip())
        return unquote(found[1].decode("latin-1")) if found else ""

    def _request_id(self) -> str:
        """That of the log, once the application has the request."""
        scope: Any = self.scope
        return str(scope.get(REQUEST_ID) or request_id_of(scope))


class _Pieces:
    """Writes what is neither the first nor the last of a body, without the long way: a message, a coroutine, and all
    that has to be looked at only once for a response."""

    __slots__ = ("_cycle", "_writes")

    def __init__(self, cycle: RequestResponseCycle, writes: BatchedWrites) -> None:
        self._cycle = cycle
        self._writes = writes

    def write(self, piece: bytes) -> bool:
        cycle = self._cycle
        if cycle.flow.write_paused or cycle.disconnected or cycle.response_complete or not cycle.chunked_encoding:
            return False
        self._writes.add(cycle.transport, b"%x\r\n%b\r\n" % (len(piece), piece))
        return True

    def flush(self) -> None:
        self._writes.flush(self._cycle.transport)


async def _without_chunks(
    app: ASGI3Application,
    cycle: RequestResponseCycle,
    scope: Scope,
    receive: ASGIReceiveCallable,
    send: ASGISendCallable,
) -> None:
    """HTTP/1.0 knows no chunks: a body ends there with the connection (RFC 9112, 6.1). uvicorn looks at no version, but
    leaves a body as it is whose length it thinks it knows."""
    is_endless = False

    async def send_as_it_is(message: ASGISendEvent) -> None:
        nonlocal is_endless
        if message["type"] == "http.response.start":
            is_endless = not any(name.lower() == b"content-length" for name, _ in message.get("headers", ()))
            if is_endless:
                cycle.chunked_encoding, cycle.expected_content_length = False, sys.maxsize
        elif message["type"] == "http.response.body" and is_endless and not message.get("more_body", False):
            cycle.expected_content_length = len(message.get("body", b""))
        await send(message)

    await app(scope, receive, send_as_it_is)


def _announces_body(header: tuple[bytes, bytes]) -> bool:
    name, value = header
    return name == b"transfer-encoding" or (name == b"content-length" and value != b"0")
