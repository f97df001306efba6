"""Serving an application with uvicorn, to its orderly end."""

import asyncio
import gc
import logging
import os
import signal
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from types import FrameType

import uvicorn
from litestar.types import ASGIApp

from llm_backend.interface.http.connections import PatientConnection

BACKLOG = 2048
KEEP_ALIVE = 65  # seconds; longer than the 60 of common proxies, so that they, and not we, hang up first
LONGEST_SOCKET_MESSAGE = 16 * 1024 * 1024  # bytes
AFTERGLOW = timedelta(seconds=5)  # for clients to read the end of their streams, once all answers have ended

_BROKEN_TEXT = "Invalid UTF-8 sequence received from client."  # as uvicorn says it, with a traceback


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """Where to listen, and how patiently: for the whole head of a request, for the next piece of a body, for a client
    to read some of a reply, for answers at the end. `trusted_proxies` are the addresses whose `X-Forwarded-For` is
    believed."""

    host: str = "127.0.0.1"
    port: int = 8080
    head_timeout: timedelta = timedelta(seconds=10)
    body_timeout: timedelta = timedelta(seconds=20)
    reading_timeout: timedelta = timedelta(seconds=60)
    shutdown_grace: timedelta = timedelta(seconds=30)
    trusted_proxies: Sequence[str] = ()


class HttpServer(uvicorn.Server):
    """Serves until `stop`; then takes no new connections while `drain` lets running answers come to their end.

    `url` is where it can be reached, also if the port was 0; `listening` is told of it once. With `heed_signals`,
    SIGTERM and SIGINT stop it, and a second one ends the process at once. Raises `OSError` when it cannot listen.
    """

    def __init__(
        self,
        app: ASGIApp,
        options: ServerOptions,
        *,
        drain: Callable[[], Awaitable[object]],
        listening: Callable[[str], object],
        heed_signals: bool = True,
    ) -> None:
        super().__init__(_config(app, options))
        self._heed_signals = heed_signals
        self._socket = _bound(options.host, options.port)
        self._drain = drain
        self._listening = listening
        self.url = _url(self._socket)

    async def serve_until_stopped(self) -> None:
        await self.serve(sockets=[self._socket])

    def stop(self) -> None:
        self.should_exit = True

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets=sockets)
        self._listening(self.url)

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Streams stay open while the answers that they follow go on."""
        draining = asyncio.ensure_future(self._drain())
        await super().shutdown(sockets=sockets)
        await draining

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Uvicorn would raise the signal again in the end, and the process would not end with 0."""
        if not self._heed_signals or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = {number: signal.signal(number, self.handle_exit) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        del frame
        if self.should_exit:
            os._exit(128 + sig)  # all that was acknowledged is stored, as after a kill
        self.stop()


async def serve(
    app: ASGIApp,
    options: ServerOptions,
    *,
    drain: Callable[[], Awaitable[object]],
    listening: Callable[[str], object],
) -> None:
    """Serve until SIGTERM or SIGINT. Raises `OSError` when it cannot listen where it is told to."""
    _spare_the_collector()
    await HttpServer(app, options, drain=drain, listening=listening).serve_until_stopped()


def _spare_the_collector() -> None:
    """What was imported stays for ever; looking through it again and again took a fifth of the CPU of a stream.

    Answers that are being written have some ten thousand events at a time, which come and go without a cycle among
    them: the first look is at more than that.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


def _config(app: ASGIApp, options: ServerOptions) -> uvicorn.Config:
    errors = logging.getLogger("uvicorn.error")
    errors.setLevel(logging.WARNING)
    errors.addFilter(_is_news)
    grace = options.shutdown_grace + AFTERGLOW
    return uvicorn.Config(
        app,
        interface="asgi3",
        http=PatientConnection.waiting(options.head_timeout, options.body_timeout, options.reading_timeout),
        ws="websockets-sansio",
        ws_max_size=LONGEST_SOCKET_MESSAGE,
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=bool(options.trusted_proxies),
        forwarded_allow_ips=list(options.trusted_proxies),
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE,
        timeout_graceful_shutdown=int(grace.total_seconds()),
    )


def _is_news(record: logging.LogRecord) -> bool:
    """Requests that outstay the end of the server are cancelled, which is said once and is no crash. Broken UTF-8 in a
    WebSocket is the fault of the client, who is told."""
    error = record.exc_info[1] if record.exc_info else None
    return not isinstance(error, asyncio.CancelledError) and record.msg != _BROKEN_TEXT


def _bound(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def _url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
