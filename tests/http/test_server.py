"""The server on its sockets: connections that dawdle, bodies that are too large, the end."""

import asyncio
import gzip
import json
import re
import signal
import socket
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from litestar.enums import ScopeType
from litestar.types import Receive, Scope, Send

from llm_backend.application.backend import Backend
from llm_backend.config import ConfigurationError, Settings
from llm_backend.interface.http.app import create_app
from llm_backend.interface.http.edge import Edge, piece_writer
from llm_backend.interface.http.options import HttpOptions
from llm_backend.interface.http.server import AFTERGLOW, HttpServer, ServerOptions
from tests.http.apps import app_over
from tests.http.clients import NO_CERTIFICATES, Client
from tests.http.openai.test_frame import as_error
from tests.live import FreshServerProcess, serving

SOON = 10.0
PATIENCE = timedelta(seconds=0.3)


@pytest.fixture
async def server(backend: Backend, options: HttpOptions) -> AsyncIterator[HttpServer]:
    with app_over(backend, options) as app:
        async with serving(app, ServerOptions(port=0, head_timeout=PATIENCE)) as server:
            yield server


class Wire:
    """A connection on which a test writes what it likes."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def to(cls, server: HttpServer) -> "Wire":
        host, port = server.url.removeprefix("http://").split(":")
        return cls(*await asyncio.open_connection(host, int(port)))

    async def write(self, content: bytes) -> None:
        self._writer.write(content)
        await self._writer.drain()

    async def reply(self) -> tuple[int, dict[str, str], bytes]:
        """One whole reply with a length."""
        async with asyncio.timeout(SOON):
            head = (await self.head()).decode().split("\r\n")
            headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head[1:] if line)}
            body = await self._reader.readexactly(int(headers["content-length"]))
        return int(head[0].split()[1]), headers, body

    async def head(self) -> bytes:
        async with asyncio.timeout(SOON):
            return await self._reader.readuntil(b"\r\n\r\n")

    async def read(self, size: int) -> bytes:
        async with asyncio.timeout(SOON):
            return await self._reader.readexactly(size)

    async def is_closed(self) -> bool:
        async with asyncio.timeout(SOON):
            return await self._reader.read(1) == b""

    def close(self) -> None:
        self._writer.close()


@pytest.fixture
async def wire(server: HttpServer) -> AsyncIterator[Wire]:
    wire = await Wire.to(server)
    yield wire
    wire.close()


@pytest.fixture
async def dawdling(backend: Backend, options: HttpOptions) -> AsyncIterator[Wire]:
    """A connection to a server that is impatient for bodies."""
    with app_over(backend, options) as app:
        async with serving(app, ServerOptions(port=0, body_timeout=PATIENCE)) as server:
            wire = await Wire.to(server)
            yield wire
            wire.close()


async def test_a_connection_that_says_nothing_is_closed(wire: Wire) -> None:
    status, headers, body = await wire.reply()

    assert status == 408
    assert json.loads(body)["code"] == "request_timeout"
    assert headers["x-request-id"]
    assert await wire.is_closed()


@pytest.mark.parametrize(
    "start", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"G", b"\r\n", b"GET /healthz HTTP/1.1\r\nX: "]
)
async def test_a_head_that_drips_is_cut_off_in_time(wire: Wire, start: bytes) -> None:
    await wire.write(start)

    async def drip() -> None:
        for _ in range(100):
            await asyncio.sleep(0.05)
            await wire.write(b"\r\n" if start == b"\r\n" else b"x")

    dripping = asyncio.create_task(drip())
    status, _, _ = await wire.reply()
    dripping.cancel()
    await asyncio.wait([dripping])

    assert status in {400, 408}


@pytest.mark.parametrize("start", [b"GET /healthz HTTP/1.1\r\nHost: x\r\n", b"\r\n\r\n"])
async def test_a_kept_alive_connection_has_a_deadline_for_the_next_head_too(wire: Wire, start: bytes) -> None:
    await wire.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    first, _, _ = await wire.reply()
    await asyncio.sleep(2 * PATIENCE.total_seconds())
    await wire.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
    second, _, _ = await wire.reply()

    await wire.write(start)
    third, _, _ = await wire.reply()

    assert (first, second, third) == (200, 200, 408)
    assert await wire.is_closed()


async def test_a_long_reply_is_not_cut_off_by_the_deadline(server: HttpServer) -> None:
    wire = await Wire.to(server)
    await wire.write(b"POST /api/users/register HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n")
    await asyncio.sleep(2 * PATIENCE.total_seconds())
    await wire.write(b'{"username": "slow", "password": "x"}')

    status, _, _ = await wire.reply()

    assert status == 201
    wire.close()


LONG = 32 * 1024 * 1024  # bytes: more than the sockets of both sides take


async def a_long_reply(scope: Scope, receive: Receive, send: Send) -> None:
    del scope, receive
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", str(LONG).encode())]})
    await send({"type": "http.response.body", "body": bytes(LONG), "more_body": False})


@pytest.fixture
async def unread() -> AsyncIterator[Wire]:
    """A connection with a long reply on the way, to a server that is impatient with those who do not read."""
    async with serving(a_long_reply, ServerOptions(port=0, reading_timeout=PATIENCE)) as server:
        wire = await Wire.to(server)
        await wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        yield wire
        wire.close()


async def test_a_reply_that_nobody_reads_is_not_kept_for_ever(unread: Wire) -> None:
    await asyncio.sleep(4 * PATIENCE.total_seconds())

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await unread.reply()


async def test_a_reply_that_is_read_slowly_comes_to_its_end(unread: Wire) -> None:
    pieces = 16

    for _ in range(pieces):
        await asyncio.sleep(PATIENCE.total_seconds() / 3)
        await unread.read(LONG // pieces)

    assert not (await unread.read(1)).strip(b"\0")


async def test_a_reply_that_is_read_for_a_while_is_not_kept_for_ever_either(unread: Wire) -> None:
    await asyncio.sleep(PATIENCE.total_seconds() / 3)
    await unread.read(LONG // 4)
    await asyncio.sleep(4 * PATIENCE.total_seconds())

    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await unread.read(LONG // 2)


async def test_a_client_whose_own_system_takes_much_ahead_may_read_little_by_little() -> None:
    """So little that nothing moves on but in the buffers of the sockets."""
    patience = 2 * PATIENCE
    loop = asyncio.get_running_loop()
    async with serving(a_long_reply, ServerOptions(port=0, reading_timeout=patience)) as server:
        host, port = server.url.removeprefix("http://").split(":")
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 32 * 1024)
            client.setblocking(False)
            await loop.sock_connect(client, (host, int(port)))
            await loop.sock_sendall(client, b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")

            for _ in range(15):
                await asyncio.sleep(patience.total_seconds() / 6)
                await loop.sock_recv(client, 32 * 1024)

            assert server.server_state.connections


async def a_long_reply_and_its_end(scope: Scope, receive: Receive, send: Send) -> None:
    """The end comes when the rest has been read, and more time has passed than a client may take."""
    del scope, receive
    length = str(LONG + 1).encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", length)]})
    await send({"type": "http.response.body", "body": bytes(LONG), "more_body": True})
    await send({"type": "http.response.body", "body": b"", "more_body": True})
    await asyncio.sleep(3 * PATIENCE.total_seconds())
    await send({"type": "http.response.body", "body": b"!", "more_body": False})


async def test_a_client_that_has_read_everything_is_not_timed() -> None:
    async with serving(a_long_reply_and_its_end, ServerOptions(port=0, reading_timeout=PATIENCE)) as server:
        wire = await Wire.to(server)
        await wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(PATIENCE.total_seconds() / 3)

        _, _, body = await wire.reply()
        wire.close()

    assert body.endswith(b"\0!")


@pytest.mark.parametrize("key", ["reading_timeout", "keep_alive"])
def test_no_time_at_all_is_refused(key: str) -> None:
    with pytest.raises(ConfigurationError):
        Settings.from_mapping({"server": {key: "0s"}}, environ={})


async def a_long_reply_before_a_socket(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == ScopeType.HTTP:
        await a_long_reply(scope, receive, send)
        return
    await receive()
    await send({"type": "websocket.accept", "subprotocol": None, "headers": []})
    await asyncio.sleep(3 * PATIENCE.total_seconds())
    await send({"type": "websocket.send", "bytes": None, "text": "still here"})


async def test_nobody_is_timed_in_a_socket_for_the_reply_before_it() -> None:
    async with serving(a_long_reply_before_a_socket, ServerOptions(port=0, reading_timeout=PATIENCE)) as server:
        wire = await Wire.to(server)
        await wire.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        await asyncio.sleep(PATIENCE.total_seconds() / 3)
        await wire.write(HANDSHAKE + b"\r\n")
        await asyncio.sleep(PATIENCE.total_seconds() / 3)

        await wire.reply()
        upgraded = await wire.head()
        said = await wire.read(len(b"??still here"))
        wire.close()

    assert upgraded.startswith(b"HTTP/1.1 101 ")
    assert said.endswith(b"still here")


HALF = b"POST /api/users/login HTTP/1.1\r\nHost: x\r\nContent-Length: 37\r\n\r\n" + b'{"username": "slo'


async def test_a_body_that_stops_coming_is_cut_off(dawdling: Wire) -> None:
    await dawdling.write(HALF)

    status, _, body = await dawdling.reply()

    assert status == 408
    assert json.loads(body)["code"] == "request_timeout"
    assert await dawdling.is_closed()


async def test_under_v1_it_is_told_in_the_words_of_openai(dawdling: Wire, alice: Client) -> None:
    head = HALF.replace(b"/api/users/login", b"/v1/responses")
    await dawdling.write(head.replace(b"Host: x", b"Host: x\r\nAuthorization: Bearer %b" % str(alice.token).encode()))

    status, _, body = await dawdling.reply()

    assert status == 408
    error = as_error(json.loads(body))
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", None, "request_timeout")


async def test_a_body_that_nobody_waits_for_does_not_keep_the_connection(dawdling: Wire) -> None:
    await dawdling.write(HALF.replace(b"users/login", b"users/logout"))
    status, _, _ = await dawdling.reply()

    closed = await dawdling.is_closed()

    assert status == 401
    assert closed


async def test_a_body_that_goes_on_coming_is_waited_for(dawdling: Wire) -> None:
    await dawdling.write(HALF.replace(b"login", b"register"))
    for piece in (b'w", ', b'"pass', b"word", b'": "x"', b"}"):
        await asyncio.sleep(0.7 * PATIENCE.total_seconds())
        await dawdling.write(piece)

    status, _, _ = await dawdling.reply()

    assert status == 201


async def test_a_request_that_outstays_the_server_is_told_so_and_leaves_no_traceback(
    backend: Backend, options: HttpOptions, caplog: pytest.LogCaptureFixture
) -> None:
    app, begun = create_app(backend, options), asyncio.Event()

    async def noticing(scope: Scope, receive: Receive, send: Send) -> None:
        begun.set()
        await app(scope, receive, send)

    async with serving(noticing, ServerOptions(port=0, shutdown_grace=-AFTERGLOW)) as server:
        wire = await Wire.to(server)
        await wire.write(HALF)
        await asyncio.wait_for(begun.wait(), SOON)

    status, _, body = await wire.reply()
    wire.close()

    assert status == 503
    assert json.loads(body)["code"] == "shutting_down"
    assert not [record for record in caplog.records if record.exc_info]


async def in_three_pieces(scope: Scope, receive: Receive, send: Send) -> None:
    del receive
    await send({"type": "http.response.start", "status": 200, "headers": []})
    write = piece_writer(scope, send)
    for piece in (b"one ", b"two "):
        if (unsent := write(piece)) is not None:
            await unsent
    await send({"type": "http.response.body", "body": b"three", "more_body": False})


async def test_who_does_not_know_chunks_gets_none() -> None:
    async with serving(Edge(in_three_pieces), ServerOptions(port=0)) as server:
        wire = await Wire.to(server)
        await wire.write(b"POST / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
        head = (await wire.head()).lower()
        body = await wire.read(len(b"one two three"))

        assert b"transfer-encoding" not in head
        assert b"connection: close" in head
        assert body == b"one two three"
        assert await wire.is_closed()
        wire.close()


async def test_whole_replies_are_the_same_in_the_old_http(server: HttpServer) -> None:
    for request in (b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /nowhere HTTP/1.0\r\n\r\n"):
        wire = await Wire.to(server)
        await wire.write(request)
        status, headers, body = await wire.reply()

        assert status in {200, 404}
        assert len(json.loads(body))
        assert "transfer-encoding" not in headers
        assert await wire.is_closed()
        wire.close()


async def test_head_has_no_body_in_the_old_http_either(wire: Wire) -> None:
    await wire.write(b"HEAD /healthz HTTP/1.0\r\n\r\n")

    assert b"200" in await wire.head()
    assert await wire.is_closed()


@pytest.mark.parametrize("protocol", ["websocket", "h2c"])
async def test_an_upgrade_that_is_not_to_be_had_is_passed_over(
    wire: Wire, protocol: str, caplog: pytest.LogCaptureFixture
) -> None:
    upgrade = f"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: {protocol}\r\n\r\n"
    await wire.write(upgrade.encode())

    status, _, _ = await wire.reply()

    assert status == 200
    assert caplog.records == []


async def test_a_head_without_end_is_refused(wire: Wire) -> None:
    await wire.write(b"GET /healthz HTTP/1.1\r\nX: ")
    await wire.write(b"x" * 100_000)

    status, _, body = await wire.reply()

    assert status == 431
    assert json.loads(body)["code"] == "head_too_large"


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HELLO\r\n\r\n",
        b"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        b"POST /healthz HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
    ],
)
async def test_what_is_no_http_is_refused_in_the_documented_form(wire: Wire, request_bytes: bytes) -> None:
    await wire.write(request_bytes)

    status, _, body = await wire.reply()

    assert status == 400
    assert set(json.loads(body)) == {"error", "code"}


@pytest.mark.parametrize(
    ("head", "refused"),
    [
        (b"HELLO /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"GET /v1/\xff HTTP/1.1\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"GET /%761/models HTTP/9.9\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"P\tST /v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"GET http://[::1/v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"GET //v1/models HTTP/1.1\r\nHost x\r\n\r\n", (400, "malformed_request")),
        (b"GET http://a:99999999/v1/models HTTP/1.1\r\nHost: x\r\n\r\n", (400, "malformed_request")),
        (b"POST /v1/responses HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n", (400, "malformed_request")),
        (b"POST /v1/files HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", (400, "malformed_request")),
        (b"GET /v1/models?" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n", (431, "head_too_large")),
        (b"GET /v1/models HTTP/1.1\r\nX: " + b"a" * 100_000, (431, "head_too_large")),
        (b"\r\nGET /v1/mod", (408, "request_timeout")),
        (b"GET /v1/models HTTP/1.1\r\nX: ", (408, "request_timeout")),
    ],
)
@pytest.mark.parametrize("earlier", [b"", b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n"], ids=["new", "kept"])
async def test_what_no_application_gets_to_see_is_refused_in_the_words_of_openai_under_v1(
    wire: Wire, earlier: bytes, head: bytes, refused: tuple[int, str]
) -> None:
    if earlier:
        await wire.write(earlier)
        await wire.reply()
    await wire.write(head)

    status, headers, body = await wire.reply()

    assert (status, as_error(json.loads(body))["code"]) == refused
    assert headers["content-type"] == "application/json"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")
    assert headers["x-request-id"]
    assert await wire.is_closed()


async def test_a_head_that_comes_in_pieces_is_known_by_its_first_line(wire: Wire) -> None:
    for piece in (b"GET /v", b"1/mod", b"els\xff HTTP/1.1\r\n\r\n"):
        await wire.write(piece)
        await asyncio.sleep(0.01)

    status, _, body = await wire.reply()

    assert (status, as_error(json.loads(body))["code"]) == (400, "malformed_request")


@pytest.mark.parametrize(
    "head", [b"GET /v11/models HTTP/1.1\r\nHost x\r\n\r\n", b"GET /api/v1/models HTTP/9.9\r\n\r\n"]
)
async def test_other_families_are_refused_in_their_own_words(wire: Wire, head: bytes) -> None:
    await wire.write(head)

    _, _, body = await wire.reply()

    assert json.loads(body)["code"] == "malformed_request"


async def test_of_a_next_request_nothing_is_known_by_the_last(wire: Wire) -> None:
    await wire.write(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: first\r\n\r\n")
    _, first, _ = await wire.reply()
    await wire.write(b"\r\n")

    status, second, body = await wire.reply()

    assert (status, json.loads(body)["code"]) == (408, "request_timeout")
    assert (first["x-request-id"], second["x-request-id"] == "first") == ("first", False)


async def test_a_refused_request_keeps_the_id_that_its_client_gave_it(wire: Wire) -> None:
    await wire.write(b"GET /v1/models HTTP/1.1\r\nX-Request-Id: mine\r\nX: y\r\nHost x\r\n\r\n")

    _, headers, _ = await wire.reply()

    assert headers["x-request-id"] == "mine"


HANDSHAKE = (
    b"GET /v1/responses HTTP/1.1\r\nHost: x\r\nX-Request-Id: mine\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
    b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


async def test_a_handshake_behind_a_request_that_is_still_answered_is_a_request_like_any_other(wire: Wire) -> None:
    await wire.write(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n" + HANDSHAKE + b"\r\n")

    assert [(await wire.reply())[0] for _ in range(2)] == [200, 405]


@pytest.mark.parametrize(
    ("handshake", "refused"),
    [
        (HANDSHAKE.replace(b"Key: dG", b"Key: "), (400, "invalid_handshake")),
        (HANDSHAKE.replace(b"Sec-WebSocket-Key", b"X-Key"), (400, "invalid_handshake")),
        (HANDSHAKE.replace(b"13", b"12"), (400, "invalid_handshake")),
        (HANDSHAKE + b"Sec-WebSocket-Extensions: ;;\r\n", (400, "invalid_handshake")),
        (HANDSHAKE + b"Origin: a\r\nOrigin: b\r\n", (400, "invalid_handshake")),
        (HANDSHAKE + b"Upgrade: websocket\r\n", (426, "invalid_handshake")),
        (HANDSHAKE.replace(b"responses", b"responses?" + b"a" * 9_000), (414, "invalid_handshake")),
        (HANDSHAKE + b"X: " + b"a" * 9_000 + b"\r\n", (431, "invalid_handshake")),
        (HANDSHAKE + b"X: a\r\n" * 200, (431, "invalid_handshake")),
        (HANDSHAKE + b"Content-Length: 9\r\n", (405, "method_not_allowed")),
        (HANDSHAKE + b"Transfer-Encoding: chunked\r\n", (405, "method_not_allowed")),
        (HANDSHAKE.replace(b"GET", b"PUT"), (405, "method_not_allowed")),
    ],
)
async def test_a_handshake_that_cannot_be_understood_is_refused_like_any_other_request(
    wire: Wire, handshake: bytes, refused: tuple[int, str]
) -> None:
    await wire.write(handshake + b"\r\n")

    status, headers, body = await wire.reply()

    assert (status, as_error(json.loads(body))["code"]) == refused
    assert headers["content-type"] == "application/json"
    assert headers["x-request-id"] == "mine"
    assert (headers["x-content-type-options"], headers["cache-control"]) == ("nosniff", "no-store")


async def test_a_handshake_that_the_application_refuses_is_no_fault_of_the_server(
    wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    await wire.write(HANDSHAKE + b"\r\n")

    status, _, body = await wire.reply()

    assert (status, as_error(json.loads(body))["code"]) == (401, "invalid_api_key")
    assert await wire.is_closed()
    assert caplog.records == []


async def test_a_handshake_at_which_all_else_fails_is_an_error_like_any_other(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def broken(scope: Scope, receive: Receive, send: Send) -> None:
        raise RuntimeError("the secret detail")

    async with serving(broken) as server:
        wire = await Wire.to(server)
        await wire.write(HANDSHAKE + b"\r\n")
        status, headers, body = await wire.reply()
        wire.close()

    error = as_error(json.loads(body))
    assert (status, error["type"], error["code"]) == (500, "server_error", "internal_error")
    assert (headers["x-request-id"], b"secret" in body) == ("mine", False)
    assert len([record for record in caplog.records if record.exc_info]) == 1


@pytest.fixture
async def token(server: HttpServer) -> str:
    """To be asked for before a `wire`, which has to say something soon."""
    async with httpx.AsyncClient(base_url=server.url, timeout=SOON) as http:
        return str((await Client(http).new_user()).token)


async def test_a_body_that_announces_too_much_is_refused_at_once(token: str, wire: Wire) -> None:
    await wire.write(
        b"POST /api/rag/doc/upload HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n"
        b"Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 99999999999\r\n\r\n--b" % token.encode()
    )

    status, headers, body = await wire.reply()

    assert status == 413
    assert json.loads(body)["code"] == "body_too_large"
    assert headers["connection"] == "close"


async def test_a_client_that_only_writes_still_gets_to_read_413(server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=SOON) as http:
        alice = await Client(http).new_user()

        reply = await alice.post("/api/conversations/create", content=b"x" * 8_000_000)

    assert reply.status_code == 413


@pytest.mark.parametrize(
    ("body", "encoding", "refused"),
    [
        (b"", "identity", (400, "malformed_json")),
        (gzip.compress(b"{}", mtime=0), "gzip", (415, "unsupported_encoding")),
        (b"{}", "identity, BR", (415, "unsupported_encoding")),
    ],
)
async def test_an_empty_or_an_encoded_body_is_refused_alike_on_every_route(
    server: HttpServer, body: bytes, encoding: str, refused: tuple[int, str]
) -> None:
    async with httpx.AsyncClient(base_url=server.url, timeout=SOON, verify=NO_CERTIFICATES) as http:
        alice = await Client(http).new_user()
        conversation = await alice.new_conversation()
        paths = (await alice.get("/schema/openapi.json")).json()["paths"]
        reading = [path for path, methods in paths.items() if takes_json(methods.get("post", {}))]

        for path in reading:
            filled = re.sub(r"\{\w+\}", str(conversation), path)
            reply = await alice.post(filled, content=body, headers={"Content-Encoding": encoding})

            error = as_error(reply.json()) if path.startswith("/v1") else reply.json()
            assert (reply.status_code, error["code"]) == refused, path
            assert error.get("param") is None
            assert reply.headers.get("accept-encoding") == ("identity" if refused[0] == 415 else None)
    assert {"/api/users/login", "/v1/responses", "/v1/chat/completions", "/v1/embeddings"} <= set(reading)


def takes_json(operation: dict[str, Any]) -> bool:
    return "application/json" in operation.get("requestBody", {}).get("content", {})


async def test_an_encoded_form_is_refused_like_encoded_json(server: HttpServer) -> None:
    form, headers = {"files": {"file": ("a.txt", b"x")}}, {"Content-Encoding": "gzip"}
    async with httpx.AsyncClient(base_url=server.url, timeout=SOON, verify=NO_CERTIFICATES) as http:
        alice = await Client(http).new_user()

        replies = [await alice.post(path, headers=headers, **form) for path in ("/api/rag/doc/upload", "/v1/files")]

    assert [reply.status_code for reply in replies] == [415, 415]
    assert (replies[0].json()["code"], as_error(replies[1].json())["code"]) == ("unsupported_encoding",) * 2


async def test_an_expected_continue_is_not_given_to_a_body_that_is_refused(server: HttpServer, wire: Wire) -> None:
    await wire.write(
        b"POST /api/rag/doc/upload HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 99999\r\n\r\n"
    )

    status, _, _ = await wire.reply()

    assert status == 401


async def test_nothing_tells_what_the_server_is_made_of(server: HttpServer) -> None:
    async with httpx.AsyncClient(base_url=server.url) as http:
        reply = await http.get("/nothing")

    assert "server" not in reply.headers
    assert "x-powered-by" not in reply.headers


async def test_a_taken_port_is_an_error_of_the_system(server: HttpServer) -> None:
    port = int(server.url.rpartition(":")[2])

    with pytest.raises(OSError, match="in use"):
        async with serving(server.config.loaded_app, ServerOptions(port=port)):
            pass


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_process_in_order(tmp_path: Path, how: signal.Signals) -> None:
    with FreshServerProcess(tmp_path) as server:
        alive = httpx.get(f"{server.url}/healthz")

        status = server.terminate(how)

    assert alive.status_code == 200
    assert status == 0
    assert "Traceback" not in server.output
