"""A kept-alive HTTP/1.1 connection, carrying one exchange at a time."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import cast

from llm_backend.infrastructure.llm.gathering import Gathering
from llm_backend.infrastructure.llm.http_exchange import Exchange

_LINGER = 1.0
"""Seconds that the end of an unwanted body may take before its connection is given up."""


class HttpConnection(asyncio.Protocol):
    """A socket between exchanges. It closes itself when the server speaks unasked."""

    def __init__(
        self,
        gathering: Gathering,
        freed: Callable[["HttpConnection"], None],
        gone: Callable[["HttpConnection"], None],
    ) -> None:
        self._gathering = gathering
        self._freed = freed
        self._gone = gone
        self._loop = asyncio.get_running_loop()  # kept, as asking for it is a system call
        self._idle_since = 0.0
        self._transport: asyncio.Transport | None = None
        self._exchange: Exchange | None = None
        self._lingering: asyncio.TimerHandle | None = None

    @property
    def open(self) -> bool:
        return self._transport is not None and not self._transport.is_closing()

    @property
    def idle_for(self) -> float:
        """Seconds since the last exchange."""
        return self._loop.time() - self._idle_since

    def send(self, request: bytes) -> Exchange:
        """Begin an exchange; the connection must be idle and open."""
        assert self._transport is not None
        assert self._exchange is None
        self._exchange = Exchange(self)
        self._transport.write(request)
        return self._exchange

    def abort(self) -> None:
        """Close at once, without sending what is still unsent."""
        if self._transport is not None:
            self._transport.abort()

    # For the exchange

    def pause(self) -> None:
        if self.open and self._transport is not None and self._transport.is_reading():
            self._transport.pause_reading()

    def resume(self) -> None:
        if self.open and self._transport is not None and not self._transport.is_reading():
            self._transport.resume_reading()

    def over(self, *, reusable: bool) -> None:
        exchange, self._exchange = self._exchange, None
        if exchange is None:
            return
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None
        if reusable and self.open:
            self.resume()
            self._idle_since = self._loop.time()
            self._freed(self)
        else:
            self.abort()
        exchange.settle()

    def linger(self) -> None:
        self._lingering = self._loop.call_later(_LINGER, partial(self.over, reusable=False))

    # For the event loop

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's are none by inheritance

    def data_received(self, data: bytes) -> None:
        exchange = self._exchange
        if exchange is None:
            self.abort()  # an answer to no question: what follows on this connection cannot be trusted
        elif exchange.flows:
            self._gathering.add(exchange, data)
        else:  # nobody shall wait for the first word
            exchange.take(data)

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        self._gathering.hand_on()
        if self._exchange is not None:
            self._exchange.closed(exc)
        self._gone(self)
        self._transport = None
