"""HTTP connections that cannot be held open for nothing.

uvicorn waits for ever for a request whose head or body never ends, and lets the head grow without limit.
"""

import asyncio
from datetime import timedelta
from functools import partial
from secrets import token_hex
from typing import Any, ClassVar

import msgspec
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from llm_backend.interface.http.edge import PIECES
from llm_backend.interface.http.errors import ErrorOut
from llm_backend.interface.http.openai_errors import is_openai, openai_error

LONGEST_HEAD = 64 * 1024  # bytes
SOCKETS = {b"/v1/responses"}  # the paths that speak WebSocket
REFUSALS = {
    400: (b"Bad Request", "malformed_request", "This is not an HTTP request"),
    408: (b"Request Timeout", "request_timeout", "The request took too long to arrive"),
    431: (b"Request Header Fields Too Large", "head_too_large", "The head of the request is too large"),
}


class _TooLarge(Exception):
    """Ends the reading of a request."""


class PatientConnection(HttpToolsProtocol):
    """Closes when the head of a request is not complete `head_timeout` after the connection was made or, on one that
    is kept alive, after the first byte of the request; or when it gets too large; or when nothing of a body arrives
    for `body_timeout`."""

    head_timeout: ClassVar[float] = 10.0
    body_timeout: ClassVar[float] = 20.0

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._head_timer: asyncio.TimerHandle | None = None
        self._head_bytes = 0
        self._body_timer: asyncio.TimerHandle | None = None
        self._in_body = False
        self._is_too_large = False
        self._upgraded = False

    @classmethod
    def waiting(cls, head_timeout: timedelta, body_timeout: timedelta) -> "type[PatientConnection]":
        """The same with another patience; uvicorn wants a class."""
        patience = {"head_timeout": head_timeout.total_seconds(), "body_timeout": body_timeout.total_seconds()}
        return type("PatientConnection", (cls,), patience)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head_arrived()
        self._body_arrived()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self._upgraded:
            return
        if self._in_body:
            self._await_body()
        elif self._head_timer is None:
            if self._is_idle() and self.timeout_keep_alive_task is None:
                self._await_head()  # blank lines in front of a request, which the parser passes over
        else:
            self._head_bytes += len(data)
            if self._head_bytes > LONGEST_HEAD:
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
        self.scope[PIECES] = partial(_write_piece, self.cycle)  # type: ignore[literal-required]
        self._in_body = True

    def on_message_complete(self) -> None:
        self._body_arrived()
        super().on_message_complete()

    def _should_upgrade(self) -> bool:
        """Elsewhere a request to upgrade is answered as if it had asked for none."""
        return super()._should_upgrade() and self.url.partition(b"?")[0].rstrip(b"/") in SOCKETS

    def handle_websocket_upgrade(self) -> None:
        """What comes now is for another protocol to be patient with."""
        super().handle_websocket_upgrade()
        self._upgraded = True
        self._head_arrived()
        self._body_arrived()

    def _unsupported_upgrade_warning(self) -> None:
        """A request to upgrade is answered as if it had asked for none, which is nothing to warn of."""

    def send_400_response(self, msg: str) -> None:
        del msg
        self._refuse(431 if self._is_too_large else 400)

    def _is_idle(self) -> bool:
        cycle: RequestResponseCycle | None = self.cycle  # None until the first request, whatever the annotation says
        return cycle is None or cycle.response_complete  # pyright: ignore[reportUnnecessaryComparison]

    def _await_head(self) -> None:
        self._head_bytes = 0
        self._head_timer = self.loop.call_later(self.head_timeout, self._refuse, 408)

    def _head_arrived(self) -> None:
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

    def _refuse(self, status: int) -> None:
        """Say why, unless that would end up in the middle of another reply, and hang up."""
        self._head_arrived()
        if self._can_be_told() and not self.transport.is_closing():
            # Of a request whose head has not come, nobody knows whom it is for.
            self.transport.write(_refusal(status, as_openai=self._in_body and is_openai(self.scope)))  # type: ignore[arg-type]
        self._body_arrived()
        self.transport.close()

    def _can_be_told(self) -> bool:
        if self._in_body:
            return not self.cycle.response_started and not self.pipeline
        return self._is_idle()


def _write_piece(cycle: RequestResponseCycle, piece: bytes) -> bool:
    """Write what is neither the first nor the last of a body; false when that has to be done the long way.

    The long way is a message, a coroutine, and all that has to be looked at only once for a response.
    """
    if cycle.flow.write_paused or cycle.disconnected or not cycle.chunked_encoding:
        return False
    cycle.transport.write(b"%x\r\n%b\r\n" % (len(piece), piece))
    return True


def _refusal(status: int, *, as_openai: bool) -> bytes:
    phrase, code, text = REFUSALS[status]
    body = msgspec.json.encode(openai_error(status, code, text) if as_openai else ErrorOut(text, code))
    return (
        b"HTTP/1.1 %d %b\r\ncontent-type: application/json\r\ncontent-length: %d\r\nx-request-id: %b\r\n"
        b"cache-control: no-store\r\nconnection: close\r\n\r\n%b"
    ) % (status, phrase, len(body), token_hex(8).encode(), body)
