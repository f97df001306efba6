"""An httpx transport for many cheap streams: plain HTTP/1.1 over asyncio and httptools.

httpx's default transport takes twice the CPU for a paced stream, seven times in bursts, and collapses near a thousand
streams. TLS and proxies are left to it.
"""

import asyncio
from collections import defaultdict
from collections.abc import Awaitable
from functools import partial
from typing import TypeAlias, TypeVar

import httpx

from llm_backend.infrastructure.llm.gathering import Gathering
from llm_backend.infrastructure.llm.http_connection import HttpConnection
from llm_backend.infrastructure.llm.http_exchange import PUSH, Exchange

Origin: TypeAlias = tuple[str, int]
Timeouts: TypeAlias = dict[str, float | None]
T = TypeVar("T")


class HttptoolsTransport(httpx.AsyncBaseTransport):
    """Sends `http://` requests, at most `max_connections` at a time; the others wait, for the `pool` time-out if any.

    A response's extension `PUSH` hands its body to a callback right from the socket. Connections are kept for
    `keep_alive` seconds after a response that was read to its end. A request that finds its kept connection closed,
    and got no byte of an answer, is sent once more on a new one. Redirects, cookies and compression are the client's.
    """

    def __init__(self, *, max_connections: int = 4096, max_idle: int = 1024, keep_alive: float = 15.0) -> None:
        self._slots = asyncio.Semaphore(max_connections)
        self._max_idle = max_idle
        self._keep_alive = keep_alive
        self._idle: defaultdict[Origin, list[HttpConnection]] = defaultdict(list)
        self._all: set[HttpConnection] = set()
        self._gathering: Gathering | None = None  # until there is an event loop

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        if request.url.scheme != "http":
            raise httpx.UnsupportedProtocol("This transport speaks plain HTTP only")
        payload = await _payload(request)
        timeouts = request.extensions.get("timeout", {})
        await _within(timeouts.get("pool"), self._slots.acquire(), httpx.PoolTimeout)
        try:
            exchange = await self._ask(_origin(request.url), payload, timeouts)
        except BaseException:
            self._slots.release()
            raise
        exchange.when_settled(self._slots.release)
        return httpx.Response(
            exchange.status, headers=exchange.headers, stream=exchange, extensions={PUSH: exchange.push}
        )

    async def aclose(self) -> None:
        for connection in list(self._all):
            connection.abort()
        await asyncio.sleep(0)  # the loop closes the sockets in its next round

    async def _ask(self, origin: Origin, payload: bytes, timeouts: Timeouts) -> Exchange:
        kept = self._kept(origin)
        if kept is not None:
            exchange = kept.send(payload)
            try:
                return await _with_head(exchange, timeouts)
            except httpx.ReadError:
                if exchange.answered:
                    raise
        connection = await self._connected(origin, timeouts)
        return await _with_head(connection.send(payload), timeouts)

    async def _connected(self, origin: Origin, timeouts: Timeouts) -> HttpConnection:
        gathering = self._gathering = self._gathering or Gathering()
        connecting = asyncio.get_running_loop().create_connection(
            lambda: HttpConnection(gathering, partial(self._keep, origin), partial(self._forget, origin)), *origin
        )
        try:
            _, connection = await _within(timeouts.get("connect"), connecting, httpx.ConnectTimeout)
        except (OSError, UnicodeError) as error:
            raise httpx.ConnectError("No connection could be made") from error
        self._all.add(connection)
        return connection

    def _kept(self, origin: Origin) -> HttpConnection | None:
        """The connection that was used last, as it is the least likely to have been closed meanwhile."""
        idle = self._idle.get(origin, [])
        while idle:
            connection = idle.pop()
            if connection.open and not self._too_old(connection):
                return connection
            connection.abort()
        return None

    def _keep(self, origin: Origin, connection: HttpConnection) -> None:
        idle = self._idle[origin]
        idle.append(connection)
        if len(idle) > self._max_idle or self._too_old(idle[0]):
            idle.pop(0).abort()

    def _forget(self, origin: Origin, connection: HttpConnection) -> None:
        self._all.discard(connection)
        if connection in self._idle[origin]:
            self._idle[origin].remove(connection)

    def _too_old(self, connection: HttpConnection) -> bool:
        return connection.idle_for >= self._keep_alive


async def _with_head(exchange: Exchange, timeouts: Timeouts) -> Exchange:
    try:
        await _within(timeouts.get("read"), exchange.head, httpx.ReadTimeout)
    except BaseException:
        exchange.abandon()
        raise
    return exchange


async def _within(seconds: float | None, wanted: Awaitable[T], failure: type[httpx.TimeoutException]) -> T:
    if seconds is None:
        return await wanted
    try:
        async with asyncio.timeout(seconds):
            return await wanted
    except TimeoutError as error:
        raise failure("The server took too long") from error


def _origin(url: httpx.URL) -> Origin:
    return url.raw_host.decode("ascii"), url.port or 80


async def _payload(request: httpx.Request) -> bytes:
    body = await request.aread()
    names = {name.lower() for name, _ in request.headers.raw}
    headers = [pair for pair in request.headers.raw if pair[0].lower() != b"transfer-encoding"]
    if b"transfer-encoding" in names:  # the body was of unknown length, but now it is here
        headers.append((b"Content-Length", b"%d" % len(body)))
    lines = [b"%b %b HTTP/1.1" % (request.method.encode("ascii"), request.url.raw_path)]
    lines += [b"%b: %b" % pair for pair in headers]
    head = b"\r\n".join(lines)
    if not len(lines) - 1 == head.count(b"\r") == head.count(b"\n") or b"\x00" in head:
        raise httpx.LocalProtocolError("A header contains a line break")
    return head + b"\r\n\r\n" + body
