"""WebSockets before they are open: whoever is refused gets the same reply as to any other request."""

from collections.abc import Awaitable
from typing import Any

from litestar.enums import ScopeType
from litestar.types import Message, Receive, Scope, Send

from llm_backend.interface.http.errors import RouteNotFound, reply_to

_REFUSAL = "llm_backend.refusal"
_REPLY = "websocket.http.response"  # the extension of ASGI by that name


async def note_refusal(error: Exception, scope: Scope) -> None:
    """A hook behind every exception: the framework would tell a WebSocket no more than that it is closed."""
    if scope["type"] == ScopeType.WEBSOCKET:
        scope[_REFUSAL] = error  # type: ignore[literal-required]


class Handshake:
    """Where the application sends to. Closing before accepting is refusing, which a status and a body can explain, if
    the server knows how; `headers` come with either."""

    __slots__ = ("_headers", "_receive", "_scope", "_send", "_settled")

    def __init__(self, scope: Scope, receive: Receive, send: Send, headers: list[tuple[bytes, bytes]]) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._headers = headers
        self._settled = _REPLY not in (scope.get("extensions") or {})

    def send(self, message: Message) -> Awaitable[None]:
        """No coroutine of its own for what comes once it is open."""
        return self._send(message) if self._settled else self._settle(message)

    async def _settle(self, message: Message) -> None:
        self._settled = True
        if message["type"] == "websocket.accept":
            message["headers"] = [*message.get("headers", ()), *self._headers]
            await self._send(message)
        else:
            error: Any = self._scope.get(_REFUSAL) or RouteNotFound()
            await reply_to(error, self._scope)(self._scope, self._receive, self._send_reply)

    async def _send_reply(self, message: Message) -> None:
        """The messages of a reply, as a WebSocket names them."""
        told: Any = {**message, "type": message["type"].replace("http.response", _REPLY)}
        if "headers" in told:
            told["headers"] = [*told["headers"], *self._headers, (b"cache-control", b"no-store")]
        await self._send(told)
