"""WebSockets before they are open: whoever is refused gets the same reply as to any other request."""

from collections.abc import Awaitable, Callable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import Message, Receive, Scope, Send

from llm_backend.interface.http.errors import RouteNotFound, reply_to

_REFUSAL = "llm_backend.refusal"
_IS_OPEN = "llm_backend.is_open"
_REPLY = "websocket.http.response"  # the extension of ASGI by that name


async def note_failure(error: Exception, scope: Scope) -> None:
    """A hook behind every exception: the framework would tell a WebSocket no more than that it is closed, and the log
    nothing."""
    if scope["type"] != ScopeType.WEBSOCKET:
        return
    if not scope.get(_IS_OPEN):
        scope[_REFUSAL] = error  # type: ignore[literal-required]
    elif not _has_left(error):
        reply_to(error, scope)  # for the log: nobody can be sent a reply any more


def _has_left(error: Exception) -> bool:
    """Sending to a client that has gone raises an `OSError` of the server's (says ASGI), which no system call made, nor
    a library that talks to somebody else."""
    is_elsewhere = isinstance(error, TimeoutError | ConnectionError)
    return isinstance(error, OSError) and error.errno is None and not is_elsewhere


class Handshake:
    """Where the application sends to. Closing before accepting is refusing, which a status and a body can explain, if
    the server knows how; `headers` come with either. `on_settled` is told the status, once: 101 when it
    is open."""

    __slots__ = ("_headers", "_on_settled", "_receive", "_scope", "_send", "_settled")

    def __init__(
        self,
        scope: Scope,
        receive: Receive,
        send: Send,
        headers: list[tuple[bytes, bytes]],
        on_settled: Callable[[int], None],
    ) -> None:
        self._scope = scope
        self._on_settled = on_settled
        self._receive = receive
        self._send = send
        self._headers = headers
        self._settled = False

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own for what comes once it is open."""
        return self._send(message) if self._settled else self._settle(message)

    async def _settle(self, message: Message) -> None:
        self._settled = True
        if message["type"] == "websocket.accept":
            self._scope[_IS_OPEN] = True  # type: ignore[literal-required]
            message["headers"] = [*message.get("headers", ()), *self._headers]
            self._on_settled(101)
            await self._send(message)
            return
        error: Any = self._scope.get(_REFUSAL) or RouteNotFound()
        reply = reply_to(error, self._scope)  # which logs what is a bug
        if _REPLY in (self._scope.get("extensions") or {}):
            await reply(self._scope, self._receive, self._send_reply)
        else:
            self._on_settled(403)  # which is what servers make of it
            await self._send(message)

    async def _send_reply(self, message: Message) -> None:
        """The messages of a reply, as a WebSocket names them."""
        told: Any = {**message, "type": message["type"].replace("http.response", _REPLY)}
        if "headers" in told:
            self._on_settled(told["status"])
            told["headers"] = [*told["headers"], *self._headers, (b"cache-control", b"no-store")]
        await self._send(told)
