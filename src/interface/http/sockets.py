"""WebSockets whose handshakes are refused in the form of all other errors, also by what knows nothing of it."""

from functools import partial
from typing import Any

from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol
from websockets.http11 import Response
from websockets.server import ServerProtocol
from websockets.typing import StatusLike

from llm_backend.interface.http.edge import refusal


class SocketConnection(WebSocketsSansIOProtocol):
    """`path` and `request_id` are those of the handshake."""

    def __init__(self, *arguments: Any, path: str, request_id: str, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self.conn: ServerProtocol = _Handshakes(
            path,
            request_id,
            extensions=self.conn.available_extensions,
            max_size=self.config.ws_max_size,
            logger=self.conn.logger,
        )

    async def run_asgi(self) -> None:
        """A refusal settles a handshake, too; uvicorn would log it as a fault of the application."""
        app = self.app
        self.app = partial(self._settled_by, app)
        try:
            await super().run_asgi()
        finally:
            self.app = app  # and no cycle is left to the garbage collector

    async def _settled_by(self, app: Any, scope: Any, receive: Any, send: Any) -> None:
        await app(scope, receive, send)
        self.handshake_complete |= self.initial_response is not None

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self.handshake_initiated and self.conn.handshake_exc:
            self._refuse_unread()

    def _refuse_unread(self) -> None:
        """Its request cannot be read, which uvicorn waits for: it would keep the connection for ever."""
        told = b"".join(self.conn.data_to_send())
        self.transport.write(told or self.conn.reject(400, str(self.conn.handshake_exc)).serialize())
        self.transport.close()


class _Handshakes(ServerProtocol):
    def __init__(self, path: str, request_id: str, **named: Any) -> None:
        super().__init__(**named)
        self._path = path
        self._request_id = request_id

    def reject(self, status: StatusLike, text: str) -> Response:
        """All refusals come from here, with the reason in their first line."""
        response = super().reject(status, "")
        code = "internal_error" if response.status_code >= 500 else "invalid_handshake"
        reason = text.partition("\n")[0]
        headers, response.body = refusal(response.status_code, code, reason, self._path, self._request_id)
        for name, value in headers:
            response.headers.pop(name.decode(), None)
            response.headers[name.decode()] = value.decode()
        return response
