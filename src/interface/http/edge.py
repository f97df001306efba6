"""The outermost layer: every request gets an id, every reply its common headers, and each leaves one line in the log.
So does the handshake of a WebSocket, when it is settled.

It is the only ASGI layer of ours round the application, because each one costs something for every token of a stream.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable
from itertools import count
from secrets import token_hex
from typing import Any, Protocol, TypeAlias

import structlog
from litestar.enums import ScopeType
from litestar.types import ASGIApp, HTTPScope, Message, Receive, Scope, Send

from llm_backend.domain.errors import ShuttingDown
from llm_backend.interface.http.cors import OtherOrigins
from llm_backend.interface.http.errors import REQUEST_ID, Headers, method_not_allowed, methods_of, refused, reply_to
from llm_backend.interface.http.handshakes import Handshake
from llm_backend.interface.http.requests import header
from llm_backend.interface.http.stepping import begun
from llm_backend.interface.http.streams import EVENT_STREAM

LONGEST_REQUEST_ID = 128
PRIVATE = (b"cache-control", b"no-store")
# Random once and counted from there: asking a virtual machine for randomness can take longer than a short request.
_RUN = token_hex(5)
_NUMBERS = count(1)
PIECES = "llm_backend.pieces"
"""Where a server may leave `Pieces` in the scope."""
_WRITE = "llm_backend.write"

Write: TypeAlias = Callable[[bytes], Awaitable[None] | None]
"""Writes at once; what it returns, when the client reads too slowly, has to be awaited before the next piece."""


class Pieces(Protocol):
    """A server's short way for the pieces of a body that has begun and goes on: past all that wraps `send` between the
    server and the edge."""

    def write(self, piece: bytes) -> bool:
        """Take a piece, to be written within this turn of the event loop; false when it has to go the long way."""

    def flush(self) -> None:
        """Write what was taken, as something comes behind it that goes the long way."""


access_log: structlog.stdlib.BoundLogger = structlog.get_logger("llm_backend.access")


class Edge:
    """An ASGI application round another one."""

    def __init__(self, app: ASGIApp, origins: OtherOrigins | None = None) -> None:
        self.app = app
        self._origins = origins

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == ScopeType.WEBSOCKET:
            send = _answering_handshakes(scope, receive, send)
        if scope["type"] != ScopeType.HTTP:
            await self.app(scope, receive, send)
            return
        exchange = _Exchange(scope, send, self._origins.headers(scope) if self._origins else ())
        try:
            await self._app_for(scope)(scope, receive, exchange.send)
        except asyncio.CancelledError:
            if not exchange.status:
                await reply_to(ShuttingDown(), scope)(scope, receive, exchange.send)
            raise
        except Exception as error:  # noqa: BLE001 - what the application could not turn into a reply; logged there
            reply = reply_to(error, scope)
            if not exchange.status:  # what has begun cannot be taken back: the server hangs up on it
                await reply(scope, receive, exchange.send)
        finally:
            exchange.end()

    def _app_for(self, scope: HTTPScope) -> ASGIApp:
        if self._origins and self._origins.is_preflight(scope):
            return self._origins.answer_preflight
        match scope["method"]:
            case "HEAD":
                return self._head
            case "OPTIONS":
                return self._options
            case _:
                return self.app

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET without its body: what looks whether a service is up, or how large a file is, asks so.

        The reply ends with its head, which tells whoever goes on writing that its client has left. A stream of events
        is nothing but its body, and refused before it begins.
        """

        async def send_head(message: Message) -> None:
            if message["type"] == "http.response.start":
                await send(_refused_events(scope["path"]) if _begins_events(message) else message)
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        as_get: Any = {**scope, "method": "GET"}  # a copy: the server has to go on knowing that it was HEAD
        del as_get[_WRITE]  # nobody gets past us
        await self.app(as_get, receive, send_head)

    async def _options(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_allowed(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [_with_all_methods(header) for header in message["headers"]]
            await send(message)

        await self.app(scope, receive, send_allowed)


class _Exchange:
    """One request and its reply."""

    __slots__ = ("_began", "_bytes", "_extra", "_pieces", "_request_id", "_scope", "_send", "status")

    def __init__(self, scope: HTTPScope, send: Send, extra: Headers) -> None:
        self._scope = scope
        self._send = send
        self._extra = extra
        self._began = time.perf_counter()
        self._bytes = 0
        self._pieces: Pieces | None = scope.pop(PIECES, None)  # type: ignore[misc]
        scope[_WRITE] = self.write  # type: ignore[literal-required]
        self._request_id = scope[REQUEST_ID] = request_id_of(scope)  # type: ignore[literal-required]
        self.status = 0

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own, of which there would be one for every token."""
        if self._pieces is not None:
            self._pieces.flush()
        if message["type"] == "http.response.body":
            self._bytes += len(message["body"])
        elif message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = self._completed(message["headers"])
        return self._send(message)

    def write(self, piece: bytes) -> Awaitable[None] | None:
        """The hot path: a piece of a body that has begun and goes on. What is left to await, if that takes longer."""
        if self._pieces is None or not piece or not self._pieces.write(piece):
            return begun(self.send({"type": "http.response.body", "body": piece, "more_body": True}))
        self._bytes += len(piece)
        return None

    def _completed(self, headers: Any) -> list[tuple[bytes, bytes]]:
        """Replies are private unless they say otherwise."""
        own = (*headers_of_all(self._request_id), *self._extra)
        if any(name == b"cache-control" for name, _ in headers):
            return [*headers, *own]
        return [*headers, *own, PRIVATE]

    def end(self) -> None:
        """Leave a line in the log, and no cycle in memory, which thousands of requests would fill until the garbage
        collector comes. Of a reply that broke off, what was taken is written before the server hangs up on it."""
        if self._pieces is not None:
            self._pieces.flush()
        _log(self._scope["method"], self._scope, self.status, self._began, self._request_id, bytes=self._bytes)
        del self._scope[_WRITE]  # type: ignore[misc]


def _with_all_methods(header: tuple[bytes, bytes]) -> tuple[bytes, bytes]:
    name, value = header
    return (name, methods_of(value.decode()).encode()) if name == b"allow" else header


def _begins_events(message: Any) -> bool:
    media_type = EVENT_STREAM.encode()
    return any(name == b"content-type" and value.startswith(media_type) for name, value in message["headers"])


def _refused_events(path: str) -> Message:
    """The head of a 405."""
    headers, _ = method_not_allowed("GET", path).written()
    return {"type": "http.response.start", "status": 405, "headers": headers}


def _answering_handshakes(scope: Scope, receive: Receive, send: Send) -> Send:
    """What an application that is asked for a WebSocket sends with."""
    request_id = scope[REQUEST_ID] = request_id_of(scope)  # type: ignore[literal-required]
    headers = [*headers_of_all(request_id)]
    began = time.perf_counter()

    def log(status: int) -> None:
        _log("GET", scope, status, began, request_id)

    return Handshake(scope, receive, send, headers, log).send


def _log(method: str, scope: Scope, status: int, began: float, request_id: str, **more: Any) -> None:
    """Neither bodies nor queries nor headers: a log must be fit to be shown."""
    access_log.info(
        "request",
        method=method,
        path=_path(scope),
        status=status,
        ms=round((time.perf_counter() - began) * 1000, 1),
        **more,
        request_id=request_id,
    )


def piece_writer(scope: Scope, send: Send) -> Write:
    """What to write the pieces of a long body with, once it has begun: past all layers that only look at its start."""
    found: Write | None = scope.get(_WRITE)  # type: ignore[assignment]
    return found or (lambda piece: begun(send({"type": "http.response.body", "body": piece, "more_body": True})))


def _path(scope: Scope) -> str:
    """As it was sent: still quoted, so that no line break gets into the log."""
    return scope["raw_path"].decode("latin-1")


def refusal(status: int, code: str, message: str, path: str, request_id: str) -> tuple[Headers, bytes]:
    """Headers and body of the reply to what no application gets to see, in the form of all other errors."""
    headers, body = refused(status, code, message, path).written()
    return (*headers, *headers_of_all(request_id), PRIVATE), body


def headers_of_all(request_id: str) -> Headers:
    """What every reply says, beside `PRIVATE` if it says nothing else about caches."""
    return (b"x-request-id", request_id.encode()), (b"x-content-type-options", b"nosniff")


def request_id_of(scope: Scope) -> str:
    """The client's own if it is short and printable, so that its log and ours can be laid side by side."""
    given = header(scope, b"x-request-id")
    if given and len(given) <= LONGEST_REQUEST_ID and all("!" <= character <= "~" for character in given):
        return given
    return f"{_RUN}{next(_NUMBERS):06x}"
