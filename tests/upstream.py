"""A language model's server that misbehaves on demand, over real sockets.

    async with Upstream() as upstream:
        upstream.next("429:retry_after=0", "ok")   # for the next two requests, whatever model they name
        … base_url=upstream.base_url, model="reset:after=2" …

What a request gets is decided by the queue of `next`, or else by the name of its model: `behaviour:option=value,…`.
The names are those of the functions marked `@behaviour` below, and statuses such as `500`; other names get the default.
`python tests/upstream.py PORT` serves the same to other processes, until it is killed.
"""

import asyncio
import gzip
import json
import socket
import struct
import sys
from collections import deque
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any, Self

from llm_backend.domain.continuation import GO_ON

PROVIDER_WORDS = "words that only the provider knows"
"""In every error body and error event, together with the key that was sent: neither may come out anywhere."""

_TOKENS = ("Hello", ",", " 世界", " 🌍", "\u2028", "é\u0085", ' "and"', "\\n", "\n", " more", "。")


def tokens(count: int) -> list[str]:
    """The pieces that a good answer consists of: with line separators, quotes and characters of one to four bytes."""
    return list(islice(cycle(_TOKENS), count))


def text(count: int) -> str:
    return "".join(tokens(count))


def counted(question: str, count: int) -> list[str]:
    """Words that occur nowhere else, so that it shows when one is missing, comes twice or belongs to another answer."""
    return [f"{question}·{number} " for number in range(1, count + 1)]


@dataclass(slots=True)
class Recorded:
    """One request as it came in. `hung_up` is set when the client closes the connection it came on.

    Set `go_on` to let the behaviours that wait write the rest of their answers.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    connection: int
    hung_up: asyncio.Event = field(default_factory=asyncio.Event)
    go_on: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def model(self) -> str:
        return str(self.body.get("model", ""))

    @property
    def question(self) -> str:
        """The last thing that a user asked."""
        said = self.body.get("messages", [])
        return str(said[-3 if self.so_far else -1]["content"])

    @property
    def so_far(self) -> str:
        """The answer that this request wants to be continued, if it does."""
        said = self.body.get("messages", [])
        return str(said[-2]["content"]) if said and said[-1]["content"] == GO_ON else ""


@dataclass(slots=True)
class Reply:
    """What behaviours write with. `options` are those of the behaviour."""

    request: Recorded
    behaviour: str
    options: dict[str, str]
    writer: asyncio.StreamWriter
    line_end: str = "\n"
    chunked: bool = False
    last: bool = False
    """Whether the connection is closed after this reply."""

    def number(self, option: str, default: float) -> float:
        return float(self.options.get(option, default))

    async def raw(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def head(self, status: int = 200, *headers: str, content_type: str = "text/event-stream") -> None:
        """With `Content-Length` among `headers` the body is sent as it is, otherwise in chunks."""
        self.chunked = not any(header.lower().startswith("content-length") for header in headers)
        framing = ["Transfer-Encoding: chunked"] if self.chunked else []
        always = [f"Content-Type: {content_type}", "Set-Cookie: session=1; Path=/"]
        lines = [f"HTTP/1.1 {status} Whatever", *always, *framing, *headers, "", ""]
        await self.raw("\r\n".join(lines).encode())

    async def part(self, data: bytes) -> None:
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data) if self.chunked else data)

    async def end(self) -> None:
        if self.chunked:
            await self.raw(b"0\r\n\r\n")

    async def whole(self, status: int, body: bytes, *headers: str, content_type: str = "application/json") -> None:
        await self.head(status, f"Content-Length: {len(body)}", *headers, content_type=content_type)
        await self.raw(body)

    def event(self, data: str) -> bytes:
        return f"data: {data}{self.line_end}{self.line_end}".encode()

    def chunk(self, piece: str | None, finish: str | None = None) -> bytes:
        delta = {} if piece is None else {"content": piece}
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        return self.event(_json({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}))

    def call(self, piece: dict[str, Any]) -> bytes:
        """A piece of a call of a function."""
        choice = {"index": 0, "delta": {"tool_calls": [piece]}, "logprobs": None, "finish_reason": None}
        return self.event(_json({"id": "chatcmpl-1", "object": "chat.completion.chunk", "choices": [choice]}))

    def usage(self) -> bytes:
        if not (self.request.body.get("stream_options") or {}).get("include_usage"):
            return b""
        counts = {"prompt_tokens": 7, "completion_tokens": int(self.number("tokens", 10)), "total_tokens": 0}
        return self.event(_json({"choices": [], "usage": {**counts, **self.details()}}))

    def details(self) -> dict[str, Any]:
        """Those of OpenAI; or, with `hit`, that of DeepSeek."""
        if hit := int(self.number("hit", 0)):
            return {"prompt_cache_hit_tokens": hit}
        if cached := int(self.number("cached", 0)):
            reasoning = {"reasoning_tokens": int(self.number("reasoning", 0))}
            return {"prompt_tokens_details": {"cached_tokens": cached}, "completion_tokens_details": reasoning}
        return {}

    def tokens(self, count: int) -> list[str]:
        """The pieces of the answer that are to be written: all, or those behind the text that is there already.

        `repeat` characters of that come once more.
        """
        rest = text(count).removeprefix(self.request.so_far)
        repeated = int(self.number("repeat", 0))
        again = self.request.so_far[-repeated:] if repeated else ""
        return [*again, *rest] if self.request.so_far else tokens(count)

    async def answer(self, count: int) -> None:
        """The head and `count` pieces, `delay` seconds apart."""
        await self.head()
        await self.part(self.chunk(""))
        for piece in self.tokens(count):
            await asyncio.sleep(self.number("delay", 0))
            await self.part(self.chunk(piece))

    def stream(self) -> bytes:
        """A good answer's body in one piece."""
        pieces = [self.chunk(piece) for piece in self.tokens(int(self.number("tokens", 10)))]
        return b"".join([self.chunk(""), *pieces, self.chunk(None, "stop"), self.usage(), self.event("[DONE]")])

    def reset(self) -> None:
        """Close with a TCP reset, as a crashing server does."""
        linger = struct.pack("ii", 1, 0)
        self.writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self.last = True

    def error(self) -> dict[str, Any]:
        return {"message": f"{PROVIDER_WORDS} {self.request.headers.get('authorization')}", "type": "server_error"}


Behaviour = Callable[[Reply], Awaitable[None]]
BEHAVIOURS: dict[str, Behaviour] = {}


def behaviour(play: Behaviour) -> Behaviour:
    BEHAVIOURS[play.__name__] = play
    return play


# Good answers, oddly written


@behaviour
async def ok(reply: Reply) -> None:
    """`tokens` pieces, `delay` seconds apart, after `first` seconds."""
    await asyncio.sleep(reply.number("first", 0))
    await reply.answer(int(reply.number("tokens", 10)))
    await reply.part(reply.chunk(None, "stop"))
    await reply.part(reply.usage() + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def counts(reply: Reply) -> None:
    """`counted(question, tokens)`, a word every `delay` seconds: no two questions get the same."""
    said, words = "", counted(reply.request.question, int(reply.number("tokens", 10)))
    await reply.head()
    for word in words:
        said += word
        if len(said) > len(reply.request.so_far):
            await asyncio.sleep(reply.number("delay", 0))
            await reply.part(reply.chunk(word))
    await reply.part(reply.chunk(None, "stop") + reply.usage() + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def waits(reply: Reply) -> None:
    """`after` pieces of `tokens`; the rest when the request is told to `go_on`."""
    pieces, after = tokens(int(reply.number("tokens", 10))), int(reply.number("after", 3))
    await reply.answer(after)
    await reply.request.go_on.wait()
    await reply.part(b"".join(map(reply.chunk, pieces[after:])) + reply.chunk(None, "stop") + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def embeds(reply: Reply) -> None:
    """Vectors, all in one direction; with `waiting`, when the request is told to `go_on`."""
    if "waiting" in reply.options:
        await reply.request.go_on.wait()
    vector = [1.0] * int(reply.request.body.get("dimensions", 8))
    data = [{"index": index, "embedding": vector} for index, _ in enumerate(reply.request.body["input"])]
    await reply.whole(200, _json({"object": "list", "data": data}).encode())


@behaviour
async def calls(reply: Reply) -> None:
    """A word, then two functions are called, in two pieces each, or with `whole` in one. `cut` off after the first."""
    arguments = '{"city":"Köln"}'
    pieces = [arguments] if "whole" in reply.options else [arguments[:5], arguments[5:]]
    await reply.head()
    await reply.part(reply.chunk("Let me see"))
    for index, name in enumerate(("weather", "time")):
        for number, piece in enumerate(pieces):
            first = {"id": f"call_{index}", "type": "function"} if number == 0 else {}
            function = {"name": name, "arguments": piece} if number == 0 else {"arguments": piece}
            await reply.part(reply.call({"index": index, **first, "function": function}))
        if "cut" in reply.options:
            reply.last = True
            return
    await reply.part(reply.chunk(None, "tool_calls") + reply.usage() + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def burst(reply: Reply) -> None:
    """Everything in one write."""
    await reply.head()
    await reply.part(reply.stream())
    await reply.end()


@behaviour
async def crlf(reply: Reply) -> None:
    reply.line_end = "\r\n"
    await ok(reply)


@behaviour
async def cr(reply: Reply) -> None:
    reply.line_end = "\r"
    await ok(reply)


@behaviour
async def split(reply: Reply) -> None:
    """`size` bytes to a write, so that characters and line ends are torn apart."""
    size = int(reply.number("size", 1))
    body = reply.stream()
    await reply.head()
    for start in range(0, len(body), size):
        await reply.part(body[start : start + size])
        await asyncio.sleep(0)
    await reply.end()


@behaviour
async def odd(reply: Reply) -> None:
    """A byte order mark, comments, other fields, data over several lines, and reasoning."""
    thought = _json({"choices": [{"delta": {"role": "assistant", "reasoning_content": "hmm"}}]})
    split_event = _json({"choices": [{"delta": {"content": "A"}}]}).replace(":", ":\ndata: ", 1)
    await reply.head()
    await reply.part(b"\xef\xbb\xbf: welcome\n\nretry: 5\n\nid: 1\nevent: message\n" + reply.event(thought))
    await reply.part(f": ping\ndata:{split_event}\n\n".encode() + reply.chunk("B", "stop") + b"data: [DONE]")
    await reply.end()


@behaviour
async def no_done(reply: Reply) -> None:
    """Ends properly but for the last event."""
    await reply.answer(int(reply.number("tokens", 10)))
    await reply.part(reply.chunk(None, "stop"))
    await reply.end()


@behaviour
async def halves(reply: Reply) -> None:
    """An emoji whose two halves come in two chunks, and a half alone."""
    await reply.head()
    for escaped in (r"\ud83c", r"\udf0d!", r"\ud83c?", r"\u0000"):
        await reply.part(reply.event(f'{{"choices": [{{"delta": {{"content": "{escaped}"}}}}]}}'))
    await reply.part(reply.chunk(None, "stop") + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def whole(reply: Reply) -> None:
    """JSON in place of a stream."""
    message = {"role": "assistant", "content": text(int(reply.number("tokens", 10)))}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"prompt_tokens": 7, "completion_tokens": 10, **reply.details()}
    await reply.whole(200, _json({"object": "chat.completion", "choices": choices, "usage": usage}).encode())


@behaviour
async def zipped(reply: Reply) -> None:
    """Compressed, though nobody asked for it."""
    await reply.head(200, "Content-Encoding: gzip")
    await reply.part(gzip.compress(reply.stream()))
    await reply.end()


@behaviour
async def of_an_odd_encoding(reply: Reply) -> None:
    """Takes the header for the character set."""
    await reply.head(200, "Content-Encoding: UTF-8")
    await reply.part(reply.stream())
    await reply.end()


@behaviour
async def zipped_twice(reply: Reply) -> None:
    await reply.head(200, "Content-Encoding: gzip", "Content-Encoding: gzip")
    await reply.part(gzip.compress(gzip.compress(reply.stream())))
    await reply.end()


@behaviour
async def no_options(reply: Reply) -> None:
    """Refuses `stream_options`."""
    await (status(reply, 400) if "stream_options" in reply.request.body else ok(reply))


@behaviour
async def stays_open(reply: Reply) -> None:
    """A complete answer, but the body never ends."""
    await reply.head()
    await reply.part(reply.stream())
    await asyncio.Event().wait()


@behaviour
async def closes(reply: Reply) -> None:
    """A good answer, and the connection, which was to be kept, is closed behind it."""
    await burst(reply)
    reply.last = True


@behaviour
async def until_closed(reply: Reply) -> None:
    """A body that ends with the connection."""
    await reply.raw(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n" + reply.stream())
    reply.last = True


@behaviour
async def hints(reply: Reply) -> None:
    """A preliminary answer before the real one."""
    await reply.raw(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n")
    await ok(reply)


# Failures


async def status(reply: Reply, code: int) -> None:
    """Any status; `retry_after` gives the header."""
    after = reply.options.get("retry_after")
    headers = [] if after is None else [f"Retry-After: {after}"]
    await reply.whole(code, _json({"error": reply.error()}).encode(), *headers)


@behaviour
async def redirect(reply: Reply) -> None:
    """To `to`, or to itself."""
    host = reply.options.get("to") or reply.request.headers["host"]
    await reply.whole(307, b"", f"Location: http://{host}/v1/chat/completions")


@behaviour
async def error_body(reply: Reply) -> None:
    """An error where status 200 promised an answer, of the given `code`."""
    await reply.whole(200, _json({"error": {**reply.error(), "code": reply.options.get("code")}}).encode())


@behaviour
async def error_event(reply: Reply) -> None:
    """`after` pieces, then an error object of the given `code` inside the stream."""
    await reply.answer(int(reply.number("after", 2)))
    await reply.part(reply.event(_json({"error": {**reply.error(), "code": reply.options.get("code")}})))
    await reply.end()


@behaviour
async def error_and_end(reply: Reply) -> None:
    """The same and `[DONE]`, all at once, and as an error that came in time."""
    await reply.head()
    pieces = b"".join(map(reply.chunk, tokens(int(reply.number("after", 2)))))
    error = reply.event(_json({"error": {**reply.error(), "code": int(reply.number("code", 504))}}))
    await reply.part(pieces + error + reply.event("[DONE]"))
    await reply.end()


@behaviour
async def garbage(reply: Reply) -> None:
    await reply.answer(int(reply.number("after", 2)))
    await reply.part(reply.event('{"choices": [{' + PROVIDER_WORDS))
    await reply.end()


@behaviour
async def page(reply: Reply) -> None:
    await reply.whole(200, f"<html>{PROVIDER_WORDS}</html>".encode(), content_type="text/html; charset=utf-8")


@behaviour
async def reset(reply: Reply) -> None:
    """A TCP reset after `after` pieces."""
    await reply.answer(int(reply.number("after", 2)))
    await asyncio.sleep(0.05)  # a reset overtakes what the client has not read yet
    reply.reset()


@behaviour
async def cut(reply: Reply) -> None:
    """The connection is closed after `after` pieces, in the middle of the body."""
    await reply.answer(int(reply.number("after", 2)))
    reply.last = True


@behaviour
async def ends_early(reply: Reply) -> None:
    """The body ends properly after `after` pieces, the answer does not."""
    await reply.answer(int(reply.number("after", 2)))
    await reply.end()


@behaviour
async def headers_only(reply: Reply) -> None:
    await reply.head()
    reply.last = True


@behaviour
async def slams(reply: Reply) -> None:
    """Closes the connection without a byte."""
    reply.last = True


@behaviour
async def hangs(reply: Reply) -> None:
    """Never says anything."""
    await asyncio.Event().wait()


@behaviour
async def stall(reply: Reply) -> None:
    """Silence after `after` pieces."""
    await reply.answer(int(reply.number("after", 2)))
    await asyncio.Event().wait()


@behaviour
async def pings(reply: Reply) -> None:
    """Comments every `delay` seconds, and nothing else for ever."""
    await reply.head()
    while True:
        await reply.part(b": ping\n\n")
        await asyncio.sleep(reply.number("delay", 0.02))


@behaviour
async def drip(reply: Reply) -> None:
    """A byte every `delay` seconds, for ever."""
    await reply.head()
    for byte in cycle(reply.chunk("drop")):
        await reply.part(bytes([byte]))
        await asyncio.sleep(reply.number("delay", 0.01))


@behaviour
async def endless_line(reply: Reply) -> None:
    await reply.answer(int(reply.number("after", 2)))
    await reply.part(b"data: ")
    while True:
        await reply.part(b"x" * 16384)


@behaviour
async def endless_answer(reply: Reply) -> None:
    await reply.head()
    piece = reply.chunk("endless " * int(reply.number("words", 100)))
    while True:
        await reply.part(piece)


@behaviour
async def endless_head(reply: Reply) -> None:
    await reply.raw(b"HTTP/1.1 200 OK\r\n")
    while True:
        await reply.raw(b"X-More: " + b"x" * 16384 + b"\r\n")


@behaviour
async def endless_body(reply: Reply) -> None:
    """JSON without end where an answer is expected."""
    await reply.head(content_type="application/json")
    await reply.part(b'{"choices": [{"message": {"content": "')
    while True:
        await reply.part(b"x" * 16384)


_BOMB = gzip.compress(b"data: " + b"x" * 50_000_000)


@behaviour
async def bomb(reply: Reply) -> None:
    """Little that becomes a lot when it is unpacked."""
    await reply.head(200, "Content-Encoding: gzip")
    await reply.part(_BOMB)
    await reply.end()


@behaviour
async def not_http(reply: Reply) -> None:
    await reply.raw(b"SSH-2.0-" + PROVIDER_WORDS.encode() + b"\r\n")
    reply.last = True


@behaviour
async def deep(reply: Reply) -> None:
    """JSON nested deeper than a parser's stack."""
    await reply.head()
    await reply.part(reply.event('{"choices": ' + "[" * 100_000 + "]" * 100_000 + "}"))
    await reply.end()


# The server


class Upstream:
    """`requests` records what came in. `default` is for models that name no behaviour; port 0 is any free one."""

    def __init__(self, default: str = "ok", *, port: int = 0) -> None:
        self.port = port
        self.default = default
        self.requests: list[Recorded] = []
        self._queue: deque[str] = deque()
        self._connections = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._arrived = asyncio.Condition()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def next(self, *behaviours: str) -> None:
        """What the next requests get, whatever model they name."""
        self._queue.extend(behaviours)

    async def arrived(self, count: int = 1) -> Recorded:
        """Wait until that many requests have come in all; the last of them."""
        async with self._arrived:
            await self._arrived.wait_for(lambda: len(self.requests) >= count)
        return self.requests[count - 1]

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port, backlog=2048)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._server.wait_closed()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self._converse(reader, writer, self._connections)
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()

    async def _converse(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, connection: int) -> None:
        seen: list[Recorded] = []
        try:
            first = await reader.read(1)
            while first:
                request = await _read_request(first, reader, connection)
                seen.append(request)
                await self._record(request)
                reply = self._reply(request, writer)
                first = await _played(reply, reader)
        finally:
            for request in seen:
                request.hung_up.set()

    async def _record(self, request: Recorded) -> None:
        async with self._arrived:
            self.requests.append(request)
            self._arrived.notify_all()

    def _reply(self, request: Recorded, writer: asyncio.StreamWriter) -> Reply:
        named = request.model if _known(request.model) else self.default
        name, _, options = (self._queue.popleft() if self._queue else named).partition(":")
        pairs = (option.partition("=") for option in options.split(",") if option)
        return Reply(request, name, {key: value for key, _, value in pairs}, writer)


def _known(model: str) -> bool:
    name = model.partition(":")[0]
    return name.isdigit() or name in BEHAVIOURS


async def _played(reply: Reply, reader: asyncio.StreamReader) -> bytes:
    """Carry out the behaviour, unless the client hangs up meanwhile. The first byte of its next request, if any."""
    play = status(reply, int(reply.behaviour)) if reply.behaviour.isdigit() else BEHAVIOURS[reply.behaviour](reply)
    playing = asyncio.ensure_future(play)
    listening = asyncio.ensure_future(reader.read(1))
    try:
        await asyncio.wait({playing, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not playing.done():
            return b""
        await playing
        return b"" if reply.last else await listening
    finally:
        for task in (playing, listening):
            task.cancel()
            with suppress(asyncio.CancelledError, ConnectionError):
                await task


async def _read_request(first: bytes, reader: asyncio.StreamReader, connection: int) -> Recorded:
    head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    line, *lines = head.rstrip().split("\r\n")
    headers = {name.strip().lower(): value.strip() for name, _, value in (header.partition(":") for header in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Recorded(line.split()[1], headers, json.loads(body or b"{}"), connection)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


@contextmanager
def deaf_port() -> Iterator[int]:
    """A port where connecting neither succeeds nor fails: it listens, but its queue is full."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        fillers = [socket.socket() for _ in range(4)]
        for filler in fillers:
            filler.setblocking(False)
            with suppress(BlockingIOError):
                filler.connect(server.getsockname())
        try:
            yield server.getsockname()[1]
        finally:
            for filler in fillers:
                filler.close()


def closed_port() -> int:
    """A port where nobody listens."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        return int(server.getsockname()[1])


async def _serve(port: int) -> None:
    async with Upstream(port=port) as upstream:
        print(f"listening on {upstream.base_url}", flush=True)  # noqa: T201 - a script speaks by printing
        await asyncio.Event().wait()


if __name__ == "__main__":
    with suppress(KeyboardInterrupt):
        asyncio.run(_serve(int(sys.argv[1])))
