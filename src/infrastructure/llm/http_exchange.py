"""One request and its response on an HTTP/1.1 connection, parsed by httptools as the bytes come in."""

import asyncio
from collections.abc import AsyncIterator, Callable
from typing import Protocol

import httptools
import httpx

PUSH = "llm_backend.push"
"""The response extension that holds `Exchange.push`; a response without it is read with `aiter_bytes`."""

Sink = Callable[[bytes], bool]
"""Takes what one read brought of the body; true when no more is wanted."""

_LONGEST_HEAD = 64 * 1024
_MOST_UNREAD = 256 * 1024


class Line(Protocol):
    """What an exchange needs of its connection."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def over(self, *, reusable: bool) -> None:
        """The response is complete, or the exchange failed."""

    def linger(self) -> None:
        """Nobody waits for the rest of the body; keep the connection if that is short."""


class Exchange(httpx.AsyncByteStream):
    """The response to one request: its head once `head` is done, its body by `push` or by iterating, but not both."""

    def __init__(self, line: Line) -> None:
        self.head: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.answered = False
        """Whether the server has sent a byte."""
        self.flows = False
        """Whether `push` has handed on some of the body, as it came."""
        self._line = line
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._head_complete = False
        self._complete = False
        self._keep_alive = False
        self._surplus = False
        self._overhead = 0
        self._unread: list[bytes] = []
        self._unread_size = 0
        self._sink: Sink | None = None
        self._ended = False
        self._failure: BaseException | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._settled = False
        self._when_settled: Callable[[], None] | None = None

    # What the connection tells

    def take(self, data: bytes) -> None:
        """The hot path: what one read brought, or several in a row."""
        if self._parser is None:
            return  # it has been given up meanwhile
        self.answered = True
        fed = len(self._unread)
        broken = False
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            broken = True
        if self._sink is not None and self._unread and not self._ended:
            self._push_unread(self._sink)
        else:
            self._buffer(fed, len(data))
        if self._complete:
            self._finish(reusable=not broken and not self._surplus and self._keep_alive)
        elif broken or self._overhead > _LONGEST_HEAD:
            self.failed(httpx.RemoteProtocolError("The server does not speak HTTP, or has too much to say"))

    def give_up(self) -> None:
        self.failed(httpx.ReadError("What came could not be handled"))

    def closed(self, error: Exception | None) -> None:
        """The connection is gone. That is a good end only for a body that has no other."""
        if error is None and self._head_complete and self._ends_with_connection():
            self._finish(reusable=False)
        else:
            self.failed(httpx.ReadError("The connection broke off"))

    def failed(self, error: BaseException) -> None:
        if not self.head.done():
            self.head.set_exception(error)
            self.head.exception()  # whoever gave up waiting will not look
        self._end(error)
        self._line.over(reusable=False)

    def settle(self) -> None:
        """The connection is no longer held, and no more bytes will come.

        What refers back to this exchange is let go, so that the whole answer, its prompt and its reader need not wait
        for the garbage collector, for which they were a tenth of all work.
        """
        self._settled = True
        self._parser = None
        self._sink = None
        if self._when_settled is not None:
            self._when_settled()
            self._when_settled = None

    # What the reader asks for

    def when_settled(self, callback: Callable[[], None]) -> None:
        """Call `callback` once, when the connection is free for others or gone; at once if it is already."""
        if self._settled:
            callback()
        else:
            self._when_settled = callback

    async def push(self, sink: Sink) -> None:
        """Hand the body to `sink`, straight from the socket, until it ends or `sink` wants no more.

        Raises what `sink` raises, after closing the connection, and `httpx.ReadError` or `RemoteProtocolError`.
        """
        self._sink = sink
        if self._unread and self._first(sink):
            return
        while not self._ended:
            self._line.resume()
            await self._news()
        if self._failure is not None:
            raise self._failure

    def _first(self, sink: Sink) -> bool:
        """Hand on what came before the reader, whose errors are raised here even if the body has ended meanwhile."""
        try:
            enough = sink(self._taken())
        except BaseException:
            self.abandon()
            raise
        if enough:
            self._enough()
        return enough

    async def __aiter__(self) -> AsyncIterator[bytes]:
        while True:
            if self._unread:
                yield self._taken()
            elif self._ended:
                break
            else:
                self._line.resume()
                await self._news()
        if self._failure is not None:
            raise self._failure

    async def aclose(self) -> None:
        """Close the connection at once, unless the body is complete."""
        self.abandon()

    def abandon(self) -> None:
        if not self._ended:
            self._end(None)
            self._line.over(reusable=False)

    # What the parser finds

    def on_message_begin(self) -> None:
        self._surplus = self._complete

    def on_header(self, name: bytes, value: bytes) -> None:
        if not self._head_complete:
            self.headers.append((name, value))

    def on_headers_complete(self) -> None:
        if self._head_complete:
            return
        assert self._parser is not None
        self.status = self._parser.get_status_code()
        if self.status >= 200:
            self._head_complete = True
        else:
            self.headers.clear()  # "100 Continue" and "103 Early Hints": the real head follows

    def on_body(self, data: bytes) -> None:
        if not self._surplus:
            self._unread.append(data)

    def on_message_complete(self) -> None:
        self._complete = self._head_complete
        assert self._parser is not None
        self._keep_alive = self._parser.should_keep_alive()  # it forgets after this call

    def _ends_with_connection(self) -> bool:
        names = {name.lower() for name, _ in self.headers}
        return not names & {b"content-length", b"transfer-encoding"}

    # Between the two

    def _buffer(self, fed: int, size: int) -> None:
        """Keep what a read brought, for a reader that is still to come."""
        if self._head_complete and not self.head.done():
            self.head.set_result(None)
        if len(self._unread) == fed:
            self._overhead += size
        elif self._sink is not None:
            self._unread.clear()  # nobody wants it any more
        else:
            self._unread_size += sum(map(len, self._unread[fed:]))
            if self._unread_size > _MOST_UNREAD:
                self._line.pause()
            self._wake()

    def _taken(self) -> bytes:
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self._unread_size = 0
        return data

    def _push_unread(self, sink: Sink) -> None:
        data = self._unread[0] if len(self._unread) == 1 else b"".join(self._unread)
        self._unread.clear()
        self.flows = True
        try:
            enough = sink(data)
        except BaseException as error:  # noqa: BLE001 - whatever it is belongs to the one who waits in `push`
            self.failed(error)
            return
        if enough:
            self._enough()

    def _enough(self) -> None:
        if not self._complete and not self._ended:
            self._end(None)
            self._line.linger()

    def _finish(self, *, reusable: bool) -> None:
        self._end(None)
        self._line.over(reusable=reusable)

    def _end(self, failure: BaseException | None) -> None:
        if not self._ended:
            self._ended = True
            self._failure = failure
            self._wake()

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def _news(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None
